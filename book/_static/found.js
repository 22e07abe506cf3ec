/* What a search has found, marked on the page that it leads to: in place of Sphinx's own script, which marked every letter k
   after a search for "K-composition". The words are marked where they stand together; where they do so nowhere, each of
   them is, as a whole word and not if it is a letter or two. The page itself stays as it is. */
"use strict";
const SPHINX_HIGHLIGHT_ENABLED = true; // searchtools.js asks, and keeps what is searched for
const ASKED = "sphinx_highlight_terms";
const PARTS = /[^\p{Letter}\p{Number}_]+/u; // as searchtools.js cuts a question

function _places(root, wanted) {
  const found = [], texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode;
    if (text.parentElement.closest("script, style, svg, button, select, textarea")) { continue; }
    for (const one of text.data.matchAll(wanted)) {
      const range = new Range();
      range.setStart(text, one.index);
      range.setEnd(text, one.index + one[0].length);
      found.push(range);
    }
  }
  return found;
}

function _mark(root, asked) {
  const words = asked.toLowerCase().split(PARTS).filter((word) => word), long = words.filter((word) => word.length > 2);
  if (!words.length || typeof Highlight === "undefined") { return; }
  const whole = (said) => new RegExp("(?<![\\p{Letter}\\p{Number}_])(?:" + said + ")(?:e?s)?(?![\\p{Letter}\\p{Number}_])", "giu");
  let found = _places(root, whole(words.join(PARTS.source)));
  if (!found.length && long.length) { found = _places(root, whole(long.join("|"))); }
  const marks = CSS.highlights.get("bk-found") || new Highlight();
  found.forEach((range) => marks.add(range));
  CSS.highlights.set("bk-found", marks);
}

// searchtools.js calls it of each result, once a word.
const _highlightText = (result) => _mark(result, localStorage.getItem(ASKED) || "");

document.addEventListener("DOMContentLoaded", () => {
  if (document.getElementById("search-results")) { return; } // searchtools.js calls, once it has some
  const asked = localStorage.getItem(ASKED) || "";
  localStorage.removeItem(ASKED);
  _mark(document.querySelector("article") || document.body, asked);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && typeof Highlight !== "undefined") { CSS.highlights.delete("bk-found"); }
});
