/* Brings a page's static charts to life. The Vega bundle is fetched once, from this site, and only by pages with charts. */
(function () {
  "use strict";
  var base = new URL("../vega/vega.js", document.currentScript.src).href;
  var bundle = null, views = new WeakMap();

  function load() {
    bundle = bundle || new Promise(function (resolve, reject) {
      var script = document.createElement("script");
      script.src = base;
      script.onload = resolve;
      script.onerror = reject;
      document.head.appendChild(script);
    });
    return bundle;
  }

  // A specification made for a wide column, changed in place for the room that there is: single charts get its width,
  // panels stand in as many columns as keep them legible, charts beside each other go below each other.
  var MOST = 760, LEAST = 280, PANEL = 145, AXIS = 90, NUMBERS = 62, CELL = 28, TICK = 60, PADDING = 16, LETTER = 6.5, LINE = 32;

  function fit(spec, room) {
    room = Math.max(LEAST, Math.min(MOST, room)) - (spec.autosize ? 0 : PADDING);
    var narrow = room < 560, beside = spec.hconcat || spec.concat, axis = side(spec, spec.spec || spec, room);
    if (beside || spec.vconcat) {
      axis = Math.max.apply(null, [AXIS].concat(leaves(spec).map(function (part) { return side(spec, part, room); })));
      arrange(spec, room, narrow, axis);
    } else if (spec.facet && spec.spec) {
      var own = ((spec.resolve || {}).scale || {}).y === "independent";
      var count = rows(spec, spec.facet.field).size;
      spec.columns = Math.max(1, Math.min(spec.columns || 1, count, Math.floor((room - axis) / PANEL)));
      if (count % spec.columns) { // or the places that no panel fills would show an axis
        spec.resolve = Object.assign({}, spec.resolve, { axis: { x: "independent" } });
      }
      resize(spec.spec, own ? room / spec.columns - axis - 12 : (room - axis) / spec.columns - 20); // own: an axis a panel
    } else if (typeof spec.width === "number") {
      resize(spec, spec.autosize ? room : Math.min(spec.width, room - AXIS), room - axis);
    }
    var legend = { columns: Math.max(1, Math.min(4, Math.floor((room - axis) / (30 + LETTER * keys(spec))))), labelLimit: room - axis - 20, titleLimit: room - axis };
    spec.config = Object.assign({}, spec.config, { legend: Object.assign({}, (spec.config || {}).legend, legend) });
    return spec;
  }

  // Panels beside each other share the room, or stand below each other where there is little.
  function arrange(part, room, narrow, axis) {
    var beside = part.hconcat || part.concat;
    if (beside && narrow) { delete part.hconcat; delete part.concat; part.vconcat = beside; }
    inner(part).forEach(function (each) { arrange(each, part.vconcat ? room : room / beside.length, narrow, axis); });
    if (part.width > room - axis) { resize(part, room - axis); }
  }

  // What a chart of several is put together from, and the single charts in it at any depth.
  function inner(part) { return part.vconcat || part.hconcat || part.concat || []; }
  function leaves(part) {
    return inner(part).length ? [].concat.apply([], inner(part).map(leaves)) : [part];
  }

  // The values of a column of a chart's data.
  function rows(spec, field) {
    var data = spec.data || (spec.spec || {}).data || {}, all = data.values || (spec.datasets || {})[data.name] || [];
    return new Set(all.map(function (row) { return row[field]; }));
  }

  // The letters of the longest of some names; what stands before a bar is the heading of its group.
  function longest(names) {
    return Math.max.apply(null, [0].concat(Array.from(names).map(function (name) { return String(name).split(" | ").pop().length; })));
  }

  // What is drawn over each other, whoever made it a layer of a layer.
  function layers(part) { return part.layer ? [].concat.apply([], part.layer.map(layers)) : [part]; }

  // What the axis to the left takes: names are as wide as the longest line, numbers all about the same.
  function side(spec, part, room) {
    var y = layers(part).map(function (layer) { return (layer.encoding || {}).y || {}; }).find(function (y) { return y.field; }) || {};
    var named = y.type === "nominal" || Array.isArray(y.sort);
    if (!named) { return NUMBERS; }
    var names = (y.scale || {}).domain || (Array.isArray(y.sort) ? y.sort : rows(spec, y.field));
    return Math.min(30 + LETTER * Math.min(LINE, longest(names)), 0.55 * room);
  }

  // The letters of the longest name in a legend.
  function keys(spec) {
    return Math.max.apply(null, [].concat.apply([], leaves(spec.spec || spec).map(layers)).map(function (layer) {
      var channels = [(layer.encoding || {}).color || {}, (layer.encoding || {}).shape || {}];
      return Math.max.apply(null, channels.map(function (channel) {
        return channel.field && channel.type === "nominal" ? longest((channel.scale || {}).domain || rows(spec, channel.field)) : 0;
      }));
    }));
  }

  // Words in lines of so many letters.
  function lines(text, letters) {
    return text.split(" ").reduce(function (found, word) {
      var last = found[found.length - 1];
      return last && (last + " " + word).length > letters ? found.concat(word) : found.slice(0, -1).concat(last ? last + " " + word : word);
    }, [""]);
  }

  // A square stays a square: a map of attention is read along its diagonal.
  function resize(part, width, inside) { // inside: of its axes, where they are part of the width
    if (part.height === part.width) { part.height = width; }
    part.width = width;
    layers(part).forEach(function (layer) {
      var x = (layer.encoding || {}).x || {};
      if (x.type === "quantitative" && x.axis !== null && !(x.axis || {}).values) {
        x.axis = Object.assign({}, x.axis, { tickCount: Math.max(2, Math.round(width / TICK)) });
      }
      if (x.title) { x.title = lines([].concat(x.title).join(" "), (inside || width) / LETTER); } // a longer one would make the page wider
    });
    var map = (part.layer || []).find(function (layer) { return ((layer.encoding || {}).x || {}).type === "ordinal"; });
    var cells = map && (map.encoding.x.scale || {}).domain || map && map.encoding.x.sort;
    if (cells && (inside || width) / cells.length < LETTER * longest(cells)) { // every second name would be left out
      layers(part).forEach(function (layer) { layer.encoding.x.axis = Object.assign({}, layer.encoding.x.axis, { labelAngle: -90 }); });
    }
    if (cells && width / cells.length < CELL) { // numbers would run into each other
      part.layer = part.layer.filter(function (layer) { return (layer.mark.type || layer.mark) !== "text"; });
    }
  }

  function draw(chart) {
    var canvas = chart.querySelector(".bk-canvas"), room = chart.clientWidth;
    var spec = fit(JSON.parse(chart.querySelector('script[type="application/json"]').textContent), room);
    chart.dataset.room = room;
    var fresh = document.createElement("div");
    // Menus go outside the picture: inside role=img a screen reader would not see them.
    var options = { mode: "vega-lite", actions: false, renderer: "svg", bind: chart.querySelector(".bk-controls") };
    var before = views.get(chart), chosen = before ? choices(chart, before) : { signals: {}, data: {} };
    return window.vegaEmbed(fresh, spec, options).then(function (result) {
      Object.keys(chosen.signals).forEach(function (name) { result.view.signal(name, chosen.signals[name]); });
      Object.keys(chosen.data).forEach(function (name) { result.view.data(name, chosen.data[name]); });
      return result.view.runAsync().then(function () { return result; });
    }).then(function (result) {
      if (before) { before.finalize(); }
      fresh.setAttribute("aria-hidden", "true"); // the picture's name is its description, around it
      canvas.replaceChildren(fresh); // the static picture stays until here
      if (!views.has(chart)) { walk(chart, canvas); }
      chart.classList.add("bk-live");
      views.set(chart, result.view);
      call(chart, result.view, (spec.usermeta || {}).told || {});
      offer(chart);
    });
  }

  // What a reader has chosen of a figure, by its controls or in its legend, stays when it is drawn anew.
  function choices(chart, view) {
    var names = Array.from(chart.querySelectorAll(".bk-controls [name]")).map(function (control) { return control.name; });
    return view.getState({
      signals: function (name) { return names.indexOf(name) >= 0; },
      data: function (name) { return /_store$/.test(name); }
    });
  }

  // What the places of a slider are called (steps of training) stands beside it and is said by a screen reader; a row
  // of buttons has the name that stands before it.
  function call(chart, view, told) {
    chart.querySelectorAll(".bk-controls .vega-bind").forEach(function (control) {
      var input = control.querySelector("input"), names = input && told[input.name];
      if (input && input.type === "radio") {
        control.setAttribute("role", "radiogroup");
        control.setAttribute("aria-label", control.querySelector(".vega-bind-name").textContent.trim());
      }
      if (!names) { return; }
      var value = input.nextElementSibling.cloneNode();
      input.nextElementSibling.replaceWith(value); // Vega's own goes on counting, unseen
      function say() { // the control is set before the view's listeners are called
        value.textContent = names[input.value];
        input.setAttribute("aria-valuetext", names[input.value]);
      }
      view.addSignalListener(input.name, say);
      input.addEventListener("input", say);
      say();
    });
  }

  // What a pointer is told over a mark is told by a tap near it too, and by the arrow keys of one mark after the other;
  // a screen reader says it.
  var FINGER = 20; // pixels

  function walk(chart, canvas) {
    var here = -1, told = document.createElement("p");
    told.className = "bk-unseen";
    told.setAttribute("role", "status");
    chart.appendChild(told);
    canvas.tabIndex = 0;
    function marks() {
      return Array.from(canvas.querySelectorAll(".role-mark *")).filter(function (mark) {
        return mark.__data__ && mark.__data__.tooltip && mark.getBoundingClientRect().width;
      });
    }
    function tell(mark) {
      var box = (mark || canvas).getBoundingClientRect(), item = mark ? mark.__data__ : null;
      var place = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
      canvas.querySelectorAll(".bk-here").forEach(function (old) { old.classList.remove("bk-here"); });
      if (mark) { mark.classList.add("bk-here"); }
      views.get(chart).tooltip()({ el: canvas }, place, item, item && item.tooltip);
      told.textContent = item ? words(item.tooltip) : "";
    }
    canvas.addEventListener("keydown", function (event) {
      var step = { ArrowRight: 1, ArrowLeft: -1, Escape: 0 }[event.key], all = marks();
      if (step === undefined || !all.length) { return; }
      event.preventDefault();
      here = step ? (here + step + all.length) % all.length : -1;
      tell(all[here]);
    });
    canvas.addEventListener("click", function (event) {
      if (event.pointerType === "mouse") { return; } // it hovers
      var near = marks().map(function (mark) {
        var box = mark.getBoundingClientRect();
        var over = Math.max(box.left - event.clientX, event.clientX - box.right, 0);
        return [Math.hypot(over, Math.max(box.top - event.clientY, event.clientY - box.bottom, 0)), mark];
      }).sort(function (a, b) { return a[0] - b[0]; })[0];
      tell(near && near[0] <= FINGER ? near[1] : null);
    });
    canvas.addEventListener("blur", function () { here = -1; tell(null); });
  }

  function words(tip) {
    return typeof tip !== "object" ? String(tip) : Object.keys(tip).map(function (key) { return key + " " + tip[key]; }).join(", ");
  }

  // What scrolls is a stop of the tab key and has a name; what does not is neither.
  function scrolls(box) {
    var wide = box.scrollWidth > box.clientWidth + 1, figure = box.closest("figure");
    var long = box.querySelector(".bk-table") && box.scrollHeight > box.clientHeight + 1;
    var title = figure && figure.querySelector("figcaption strong");
    ["role", "aria-label", "tabindex"].forEach(function (name) { box.removeAttribute(name); });
    if (!wide && !long) { return; }
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", (title ? title.textContent : "Table.") + (wide ? " Scrolls sideways." : " Scrolls."));
  }

  // On a phone a table that is wider than the page becomes a card a row, each value under its column's name.
  function stack(table) {
    var box = table.closest(".bk-scroll"), heads = table.tHead ? Array.from(table.tHead.rows[0].cells) : [];
    table.classList.remove("bk-stacked");
    if (!box || heads.length === 0 || table.tHead.rows.length > 1) { return; } // columns with two names stay columns
    if (window.innerWidth >= 600 || box.scrollWidth <= box.clientWidth + 1) { return; }
    table.classList.add("bk-stacked");
    var roles = { table: [table], rowgroup: [table.tHead, table.tBodies[0]], row: table.rows, columnheader: table.querySelectorAll("th") };
    roles.cell = table.querySelectorAll("td");
    Object.keys(roles).forEach(function (role) { // other boxes than a table's would lose its meaning
      Array.from(roles[role]).forEach(function (part) { part.setAttribute("role", role); });
    });
    Array.from(table.tBodies[0].rows).forEach(function (row) {
      Array.from(row.cells).forEach(function (cell, place) { cell.dataset.label = heads[place] ? heads[place].textContent : ""; });
    });
  }

  function settle() { document.querySelectorAll(".bk-table").forEach(stack); }

  // Boxes change with the window, with folds, and when what they hold is drawn.
  function watch() {
    var sizes = new ResizeObserver(function (entries) {
      entries.forEach(function (entry) {
        var box = entry.target.closest(".bk-scroll, pre");
        if (box) { scrolls(box); } // a picture that its chart has replaced stands in none
      });
    });
    document.querySelectorAll(".bk-scroll, .bd-article pre").forEach(function (box) {
      [box].concat(Array.from(box.children)).forEach(function (part) { sizes.observe(part); });
      scrolls(box); // in a closed fold nothing changes its size
    });
  }

  // A word of the glossary says what it means on hover, on focus, and on the first tap; the second follows its link.
  function explain() {
    var tip = document.createElement("div"), shown = null;
    tip.id = "bk-tip";
    tip.setAttribute("role", "tooltip");
    tip.hidden = true;
    document.querySelector("main, body").appendChild(tip);
    function show(term) {
      shown = term;
      tip.textContent = term.dataset.meaning;
      tip.hidden = false;
      var at = term.getBoundingClientRect(), room = document.documentElement.clientWidth;
      tip.style.left = Math.max(8, Math.min(at.left, room - tip.offsetWidth - 8)) + window.scrollX + "px";
      var above = at.bottom + tip.offsetHeight + 12 > window.innerHeight;
      tip.style.top = (above ? at.top - tip.offsetHeight - 6 : at.bottom + 6) + window.scrollY + "px";
      term.setAttribute("aria-describedby", "bk-tip");
    }
    function hide() {
      if (shown) { shown.removeAttribute("aria-describedby"); }
      shown = null;
      tip.hidden = true;
    }
    document.querySelectorAll(".bk-term").forEach(function (term) {
      var touched = false;
      term.addEventListener("pointerdown", function (event) { touched = event.pointerType === "touch" && shown !== term; });
      term.addEventListener("mouseenter", function () { show(term); });
      term.addEventListener("mouseleave", function (event) { if (event.relatedTarget !== tip) { hide(); } });
      term.addEventListener("focus", function () { show(term); });
      term.addEventListener("blur", hide);
      term.addEventListener("click", function (event) {
        if (touched) { event.preventDefault(); show(term); }
        touched = false;
      });
    });
    tip.addEventListener("mouseleave", hide);
    document.addEventListener("keydown", function (event) { if (event.key === "Escape") { hide(); } });
    document.addEventListener("pointerdown", function (event) { if (shown && !shown.contains(event.target)) { hide(); } });
  }

  // A link into a fold opens it.
  function reveal() {
    var target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (var above = target; above; above = above.parentElement) { if (above.tagName === "DETAILS") { above.open = true; } }
    if (target && target.closest("details")) { target.scrollIntoView(); }
  }

  // What the search shows of a page is its text (`pipeline/quotes.py`), and of a word of the glossary its meaning.
  function quote() {
    if (typeof Search === "undefined" || !Search.htmlToText) { return; }
    var parse = Search._parseQuery;
    Search._parseQuery = function (query) { // a letter finds nearly every page: the k of "K-composition"
      var parts = parse(query), words = parts[1];
      if (words.size > 1) { words.forEach(function (word) { if (word.length < 3) { words.delete(word); } }); }
      return parts;
    };
    Search.htmlToText = function (page, anchor) {
      var text = new DOMParser().parseFromString(page, "text/html"), place = anchor && text.querySelector(anchor) || text.body;
      place.querySelectorAll(".bk-folds, details, h1").forEach(function (part) { part.remove(); });
      var meaning = place.tagName === "DT" && place.parentElement.querySelector("#" + CSS.escape(place.id) + " ~ dd");
      return (meaning ? place.textContent + ": " + meaning.textContent : place.textContent).replace(/\s+/g, " ").trim();
    };
  }

  // What stands under a figure is one stop of the tab key; the arrow keys go from one thing to the next.
  var UNDER = ":scope > details > summary, :scope > a, :scope > button";
  function bar(folds) {
    var title = folds.parentElement.querySelector("figcaption strong");
    var each = function () { return Array.from(folds.querySelectorAll(UNDER)); };
    function stop(chosen) { each().forEach(function (one) { one.tabIndex = one === chosen ? 0 : -1; }); }
    folds.setAttribute("role", "toolbar");
    folds.setAttribute("aria-label", "Under " + (title ? title.textContent : "this figure"));
    folds.addEventListener("focusin", function (event) { if (each().indexOf(event.target) >= 0) { stop(event.target); } });
    folds.addEventListener("keydown", function (event) {
      var all = each(), here = all.indexOf(event.target);
      var place = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: all.length - 1 }[event.key];
      if (here < 0 || place === undefined || !all[place]) { return; }
      event.preventDefault();
      all[place].focus();
    });
    stop(each()[0]);
  }

  // A figure for a paper or a slide: its picture as it stands now, on white.
  function offer(chart) {
    var folds = chart.parentElement.querySelector(".bk-folds");
    if (!folds || folds.querySelector(".bk-save")) { return; }
    ["svg", "png"].forEach(function (kind) {
      var button = document.createElement("button");
      button.className = "bk-save";
      button.textContent = kind.toUpperCase();
      button.tabIndex = -1; // the arrow keys reach it
      button.title = "Save this figure as " + kind.toUpperCase();
      button.addEventListener("click", function () {
        var view = views.get(chart);
        view.background("white").toImageURL(kind, kind === "png" ? 3 : 1).then(function (url) {
          var link = document.createElement("a");
          link.download = chart.id.replace("chart-", "") + "." + kind;
          link.href = url;
          link.click();
          view.background("transparent").run();
        });
      });
      folds.appendChild(button);
    });
  }

  // A row of tokens: hover, tap or focus chooses one, and all are shaded by how much the head looks at them from it.
  function read(reader) {
    var tokens = Array.from(reader.querySelectorAll(".bk-token")), told = reader.querySelector(".bk-said");
    function choose(chosen) {
      var looks = JSON.parse(tokens[chosen].dataset.looks);
      tokens.forEach(function (token, place) {
        token.style.setProperty("--look", looks[place] || 0);
        token.setAttribute("aria-pressed", String(place === chosen));
      });
      var best = Object.keys(looks).sort(function (a, b) { return looks[b] - looks[a]; }).slice(0, 2);
      told.textContent = "From " + tokens[chosen].textContent + " at position " + chosen + " the head looks at " +
        best.map(function (k) { return tokens[k].textContent + " at " + k + " (" + Math.round(100 * looks[k]) + "%)"; }).join(" and ") + ".";
    }
    tokens.forEach(function (token, place) {
      ["mouseenter", "focus", "click"].forEach(function (event) { token.addEventListener(event, function () { choose(place); }); });
    });
    reader.addEventListener("keydown", function (event) { // one stop of the tab key, then arrows
      var step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], here = tokens.indexOf(document.activeElement);
      if (step && tokens[here + step]) { tokens[here + step].focus(); event.preventDefault(); }
    });
    tokens.forEach(function (token, place) { token.tabIndex = token.getAttribute("aria-pressed") === "true" ? 0 : -1; });
  }

  // Exercises that are answered in the page: `lib/report/exercises.py` seals answers, and says the same of errors.
  var TURNS = [
    ["The sign is the other way round.", function (x) { return -x; }],
    ["The size is per cent where a share is asked for.", function (x) { return x / 100; }],
    ["The size is a share where per cent are asked for.", function (x) { return x * 100; }],
    ["It is what is left: one less the right answer.", function (x) { return 1 - x; }],
    ["It is upside down: one over the right answer.", function (x) { return 1 / x; }],
    ["The unit is another: bits where nats are asked for.", function (x) { return x * Math.LN2; }]
  ];
  function digest(text) { // FNV-1a of 32 bits
    var found = 2166136261;
    new TextEncoder().encode(text).forEach(function (byte) { found = Math.imul(found ^ byte, 16777619) >>> 0; });
    return ("0000000" + found.toString(16)).slice(-8);
  }
  function number(given) { // or NaN
    var parts = given.replace(",", ".").replace("\u2212", "-").split("/").map(Number);
    return !given || parts.length > 2 ? NaN : parts.length === 2 ? parts[0] / parts[1] : parts[0];
  }
  var ASKED = "Give a number, such as -1.25 or 2/3.";
  function answer(form) {
    var given = form.querySelector("input").value.trim(), seal = form.dataset, told = form.querySelector("output");
    function fits(value) {
      var step = Math.floor(value / Number(seal.step) + 0.5);
      return [-1, 0, 1].some(function (off) { return digest("0:" + seal.step + ":" + (step + off)) === seal.digest; });
    }
    function wrong() {
      if (seal.kind === "word") { return digest(given.toLowerCase()) === seal.digest ? "" : "It is another word."; }
      var value = number(given);
      if (!isFinite(value)) { return ASKED; }
      if (fits(value)) { return ""; }
      var turn = TURNS.filter(function (turn) { return fits(turn[1](value)); })[0];
      return turn ? turn[0] : "Another number.";
    }
    var error = wrong();
    told.textContent = error ? "Not yet. " + error : "Right.";
  }

  // A prediction stands once it is made; then its seal is opened, by trying steps of its grid from zero on.
  function opened(seal) { // or NaN, where a short run could not measure
    if (digest("0:" + seal.step + ":nan") === seal.digest) { return NaN; }
    for (var away = 0; away < 1e5; away += 1) {
      for (var step of [away, -away]) {
        if (digest("0:" + seal.step + ":" + step) === seal.digest) { return step * Number(seal.step); }
      }
    }
    return NaN;
  }
  function predict(form) {
    var field = form.querySelector("input"), seal = form.dataset, told = form.querySelector("output");
    var guess = number(field.value.trim()), digits = (seal.step.split(".")[1] || "").length;
    if (!isFinite(guess)) { told.textContent = ASKED; return; }
    field.readOnly = form.querySelector("button").disabled = true;
    var found = opened(seal), off = guess - found, shown = Math.abs(off).toFixed(Math.max(digits, 2)).replace(/\.?0+$/, "");
    var side = off > 0 ? "high" : "low";
    told.textContent = isNaN(found) ? "The run behind this page was too short to tell." :
      "The run behind this page gave " + found.toFixed(digits).replace("-", "\u2212") + ": " +
      (Math.abs(off) <= Number(seal.near) ? "as you said." : (shown + " too " + side + ". " + seal[side]).trim());
  }

  // Tables of claims: a click on a heading sorts, a menu shows one verdict alone.
  function sortable(table) {
    table.querySelectorAll("thead th").forEach(function (head, column) {
      var button = document.createElement("button"), up = 1;
      button.className = "bk-sort";
      button.textContent = head.textContent;
      button.addEventListener("click", function () {
        var body = table.tBodies[0], text = function (row) { return row.cells[column].textContent; };
        Array.from(body.rows).sort(function (a, b) { return up * text(a).localeCompare(text(b), undefined, { numeric: true }); })
          .forEach(function (row) { body.appendChild(row); });
        table.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", up > 0 ? "ascending" : "descending");
        up = -up;
      });
      head.replaceChildren(button);
    });
  }

  function filter(tables) {
    var verdict = function (row) { return row.cells[1].querySelector(".bk-badge").textContent.split(":")[0]; };
    var rows = tables.flatMap(function (table) { return Array.from(table.tBodies[0].rows); });
    var menu = document.createElement("select"), label = document.createElement("label");
    ["all"].concat(Array.from(new Set(rows.map(verdict)))).forEach(function (name) { menu.add(new Option(name)); });
    menu.addEventListener("change", function () {
      rows.forEach(function (row) { row.hidden = menu.value !== "all" && verdict(row) !== menu.value; });
    });
    label.className = "bk-controls";
    label.append("Show verdicts: ", menu);
    tables[0].closest(".bk-scroll").before(label);
  }

  // The scoreboard: rows in which some column has a verdict, or in which columns differ.
  function compare(tables) {
    var said = function (row) {
      return Array.from(row.cells).slice(1).map(function (cell) {
        var badge = cell.querySelector(".bk-badge");
        return badge ? badge.textContent.split(":")[0] : "";
      });
    };
    var rows = tables.flatMap(function (table) { return Array.from(table.tBodies[0].rows); });
    var names = new Set(rows.flatMap(said).filter(Boolean));
    var menu = document.createElement("select"), label = document.createElement("label");
    ["all", "those that differ"].concat(Array.from(names)).forEach(function (name) { menu.add(new Option(name)); });
    menu.addEventListener("change", function () {
      rows.forEach(function (row) {
        var each = said(row), differ = new Set(each.filter(Boolean)).size > 1;
        row.hidden = menu.value !== "all" && !(menu.value === "those that differ" ? differ : each.includes(menu.value));
      });
    });
    label.className = "bk-controls";
    label.append("Show claims: ", menu);
    tables[0].closest(".bk-scroll").before(label);
  }

  function start() {
    var columns = Array.from(document.querySelectorAll(".bk-scoreboard"));
    if (columns.length) { compare(columns); }
    var claims = Array.from(document.querySelectorAll(".bk-overview"));
    claims.forEach(sortable);
    if (claims.length) { filter(claims); }
    document.querySelectorAll(".bk-reader").forEach(read);
    document.querySelectorAll(".bk-figure > .bk-folds").forEach(bar);
    explain();
    settle();
    watch();
    reveal();
    quote();
    document.querySelectorAll(".bk-try").forEach(function (form) {
      form.hidden = false;
      form.addEventListener("submit", function (event) { event.preventDefault(); (form.dataset.kind === "prediction" ? predict : answer)(form); });
    });
    window.addEventListener("hashchange", reveal);
    document.addEventListener("toggle", settle, true); // what a fold hid had no width
    var seen = new IntersectionObserver(function (entries) {
      entries.filter(function (entry) { return entry.isIntersecting; }).forEach(function (entry) {
        seen.unobserve(entry.target);
        load().then(function () { return draw(entry.target); }).catch(function (error) {
          console.error("chart " + entry.target.id + ": " + error);
        });
      });
    }, { rootMargin: "400px" });
    document.querySelectorAll(".bk-chart").forEach(function (chart) { seen.observe(chart); });
    var waiting = null;
    window.addEventListener("resize", function () { // a phone that is turned
      clearTimeout(waiting);
      waiting = setTimeout(function () {
        settle();
        document.querySelectorAll(".bk-live").forEach(function (chart) {
          if (Math.abs(chart.clientWidth - chart.dataset.room) > 20) { draw(chart); }
        });
      }, 300);
    });
  }

  if (document.readyState === "loading") { document.addEventListener("DOMContentLoaded", start); } else { start(); }
})();
