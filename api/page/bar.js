// The strip above the text box: what the live generation is doing, and the buttons for it.

import { speaking, TERMINAL } from "./fold.js";
import { perSecond, seconds } from "./rate.js";
import { copy } from "./share.js";

const SILENCE = 3000; // milliseconds without an event after which it is no longer called streaming

const KEYS = "Enter sends, Shift+Enter starts a new line";
const WAIT = "To ask again, stop it or wait for its end";

const $ = (id) => document.getElementById(id);

/** Only when it changes: a screen reader would say it again. */
function set(id, text) {
  const node = $(id);
  if (node.textContent !== text) node.textContent = text;
}

export class Bar {
  #busy = false;

  constructor() {
    $("copy").addEventListener("click", () => this.#copy());
  }

  show(id) {
    this.#busy = false;
    $("bar").hidden = $("trail").hidden = false;
    set("follow", `redis-cli --raw subscribe 'readalong:job:{${id}}:live'`);
  }

  hide() {
    $("bar").hidden = $("trail").hidden = true;
    this.idle();
  }

  /** Between the click and the job. */
  busy(text) {
    this.#busy = true;
    set("send", `${text}…`);
    $("send").disabled = true;
  }

  idle() {
    this.#busy = false;
    this.#buttons(false);
  }

  #buttons(running) {
    if (this.#busy) return;
    set("send", "Send");
    $("send").disabled = false;
    $("send").hidden = running;
    $("stop").hidden = !running;
    set("keys", running ? WAIT : KEYS); // Enter does nothing meanwhile
    if (!running) this.stopping(false);
  }

  stopping(yes) {
    $("stop").disabled = yes;
    set("stop", yes ? "Stopping…" : "Stop");
  }

  link(up) {
    set("away", up ? "" : "reconnecting…");
  }

  problem(text) {
    $("problem").hidden = !text;
    set("problem", text);
  }

  draw({ turn: { state }, sent, first, rate, heard }, now) {
    const ended = TERMINAL.has(state.status);
    const [word, look] = status(state, now - heard > SILENCE);
    set("status", word);
    $("dot").className = look;
    if (ended) this.link(true);
    const waited = first ?? (sent !== null && !ended ? (now - sent) / 1000 : null);
    set("first", seconds(state.metrics?.time_to_first_token ?? waited));
    const exact = ended ? state.metrics?.tokens_per_second : null;
    const about = ended ? null : rate.read(now);
    set("rate", exact != null ? perSecond(exact) : about != null ? `≈ ${perSecond(about)}` : "–");
    set("position", state.position ? String(state.position) : "–");
    set("attempt", state.attempt ? String(state.attempt) : "–");
    set("worker", worker(state.worker));
    this.#buttons(!ended);
  }

  async #copy() {
    if (!(await copy(location.href))) return this.problem("Copying is not allowed here: the link is in the address bar.");
    set("copy", "Copied");
    setTimeout(() => set("copy", "Copy link"), 2000);
  }
}

function status(state, silent) {
  if (state.waitsFor === "worker") return ["Waiting for a worker", "waiting"];
  if (state.status === "queued") return ["Queued", "waiting"];
  if (state.status === "running") {
    if (!speaking(state)) return ["Waiting for the model", "waiting"];
    return silent ? ["Waiting for the next word", "waiting"] : ["Streaming", "live"];
  }
  return { done: ["Done", "done"], cancelled: ["Stopped", "done"], failed: ["Failed", "failed"] }[state.status];
}

function worker(value) {
  if (!value) return "–";
  if (typeof value === "string") return value;
  return [value.host, value.pid].filter((each) => each != null).join(" · ") || value.id || "–";
}
