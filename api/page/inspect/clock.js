// The server's time. The reader's clock may be off by hours, and may jump: only `performance.now` is used of it.

import { h, setAttribute, setText } from "./dom.js";
import { fullTime, NONE, parseTime, span } from "./format.js";

let base = Date.now() - performance.now(); // until the server has told its time

/** Milliseconds since the epoch, at the server. */
export const now = () => base + performance.now();

/** Sets the clock by a `now` of the server that has just come. */
export function setNow(text) {
  const ms = parseTime(text);
  if (ms !== null) base = ms - performance.now();
}

/** Returns an element that shows how long ago `at` (RFC 3339 or milliseconds) was, and goes on counting. */
export function since(at, suffix = "") {
  const node = h("time");
  setSince(node, at, suffix);
  return node;
}

export function setSince(node, at, suffix = "") {
  const ms = typeof at === "number" ? at : parseTime(at);
  if (ms === null) {
    delete node.dataset.at;
    setAttribute(node, "title", null);
    return setText(node, NONE);
  }
  node.dataset.at = ms;
  node.dataset.suffix = suffix;
  setAttribute(node, "datetime", new Date(ms).toISOString());
  setAttribute(node, "title", fullTime(ms));
  tick(node);
}

/** Makes an element show a text that does not count. */
export function setStill(node, text, title = null) {
  delete node.dataset.at;
  setAttribute(node, "title", title);
  setText(node, text);
}

const tick = (node) => setText(node, span((now() - Number(node.dataset.at)) / 1000) + node.dataset.suffix);

/** Counts on, a second at a time, for what is in the document. */
export function start() {
  setInterval(() => document.hidden || document.querySelectorAll("[data-at]").forEach(tick), 1000);
  document.addEventListener("visibilitychange", () => document.hidden || document.querySelectorAll("[data-at]").forEach(tick));
}
