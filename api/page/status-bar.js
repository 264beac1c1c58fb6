// The bar above the text box: the state of the live job, and its buttons.

import { copy } from "./clipboard.js";
import { formatRate, formatSeconds } from "./rate.js";
import { hasContent, TERMINAL } from "./transcript.js";

const SILENCE = 3000; // milliseconds without an event after which the status is no longer "Streaming"

const KEYS = "Enter sends, Shift+Enter starts a new line";
const WAIT = "Stop it, or wait, to ask again";

const $ = (id) => document.getElementById(id);

/** Writes only changes: a screen reader would repeat the text. */
function setText(id, text) {
  const node = $(id);
  if (node.textContent !== text) node.textContent = text;
}

export class StatusBar {
  #busy = false;

  constructor() {
    $("copy").addEventListener("click", () => this.#copy());
  }

  show(id) {
    this.#busy = false;
    $("bar").hidden = $("trail").hidden = false;
    setText("follow", `redis-cli --raw subscribe 'readalong:job:{${id}}:live'`);
  }

  hide() {
    $("bar").hidden = $("trail").hidden = true;
    this.showIdle();
  }

  /** From the click until there is a job. */
  showBusy(text) {
    this.#busy = true;
    setText("send", `${text}…`);
    $("send").disabled = true;
  }

  showIdle() {
    this.#busy = false;
    this.#drawButtons(false);
  }

  #drawButtons(running) {
    if (this.#busy) return;
    setText("send", "Send");
    $("send").disabled = false;
    $("send").hidden = running;
    $("stop").hidden = !running;
    setText("keys", running ? WAIT : KEYS); // Enter does nothing while a job runs
    if (!running) this.showStopping(false);
  }

  showStopping(yes) {
    $("stop").disabled = yes;
    setText("stop", yes ? "Stopping…" : "Stop");
  }

  showLink(up) {
    setText("away", up ? "" : "reconnecting…");
  }

  showProblem(text) {
    $("problem").hidden = !text;
    setText("problem", text);
  }

  draw({ turn: { state }, sent, first, rate, lastEventAt }, now) {
    const ended = TERMINAL.has(state.status);
    const [label, className] = describeStatus(state, now - lastEventAt > SILENCE);
    setText("status", label);
    $("dot").className = className;
    if (ended) this.showLink(true);
    const waited = first ?? (sent !== null && !ended ? (now - sent) / 1000 : null);
    setText("first", formatSeconds(state.metrics?.time_to_first_token ?? waited));
    const exact = ended ? state.metrics?.tokens_per_second : null;
    const recent = ended ? null : rate.read(now);
    setText("rate", exact != null ? formatRate(exact) : recent != null ? `≈ ${formatRate(recent)}` : "–");
    setText("position", state.position ? String(state.position) : "–");
    setText("attempt", state.attempt ? String(state.attempt) : "–");
    setText("worker", formatWorker(state.worker));
    this.#drawButtons(!ended);
  }

  async #copy() {
    if (!(await copy(location.href))) return this.showProblem("The browser does not allow copying; the link is in the address bar.");
    setText("copy", "Copied");
    setTimeout(() => setText("copy", "Copy link"), 2000);
  }
}

function describeStatus(state, silent) {
  if (state.waitsFor === "worker") return ["Waiting for a worker", "waiting"];
  if (state.status === "queued") return ["Queued", "waiting"];
  if (state.status === "running") {
    if (!hasContent(state)) return ["Waiting for the model", "waiting"];
    return silent ? ["Waiting for the next word", "waiting"] : ["Streaming", "live"];
  }
  return { done: ["Done", "done"], cancelled: ["Stopped", "done"], failed: ["Failed", "failed"] }[state.status];
}

function formatWorker(value) {
  if (!value) return "–";
  if (typeof value === "string") return value;
  return [value.host, value.pid].filter((each) => each != null).join(" · ") || value.id || "–";
}
