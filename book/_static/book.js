/* Brings a page's static charts to life. The Vega bundle is fetched once, from this site, and only by pages with charts. */
(function () {
  "use strict";
  var base = new URL("../vega/vega.js", document.currentScript.src).href;
  var bundle = null;

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

  function draw(chart) {
    var spec = JSON.parse(chart.querySelector('script[type="application/json"]').textContent);
    var canvas = chart.querySelector(".bk-canvas");
    var fresh = document.createElement("div");
    // Menus go outside the picture: inside role=img a screen reader would not see them.
    var options = { mode: "vega-lite", actions: false, renderer: "svg", bind: chart.querySelector(".bk-controls") };
    return window.vegaEmbed(fresh, spec, options).then(function () {
      canvas.replaceChildren(fresh); // the static picture stays until here
      chart.classList.add("bk-live");
    });
  }

  function start() {
    var seen = new IntersectionObserver(function (entries) {
      entries.filter(function (entry) { return entry.isIntersecting; }).forEach(function (entry) {
        seen.unobserve(entry.target);
        load().then(function () { return draw(entry.target); }).catch(function (error) {
          console.error("chart " + entry.target.id + ": " + error);
        });
      });
    }, { rootMargin: "400px" });
    document.querySelectorAll(".bk-chart").forEach(function (chart) { seen.observe(chart); });
  }

  if (document.readyState === "loading") { document.addEventListener("DOMContentLoaded", start); } else { start(); }
})();
