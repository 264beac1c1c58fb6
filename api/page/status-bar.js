// The bar above the text box: the state of the live answer in words and numbers.

import { $, setText as write } from "./dom.js";
import { formatRate, formatSeconds } from "./rate.js";

const SILENCE = 3000; // milliseconds without an event after which the status is no longer "Streaming"

const setText = (id, text) => write($(id), text);

export class StatusBar {
  show(id) {
    $("bar").hidden = $("trail").hidden = false;
    setText("follow", `redis-cli --raw subscribe 'readalong:job:{${id}}:live'`);
  }

  hide() {
    $("bar").hidden = $("trail").hidden = true;
  }

  showLink(up) {
    setText("away", up ? "" : navigator.onLine ? "reconnecting…" : "offline: it goes on when you are back");
  }

  showProblem(text) {
    $("problem").hidden = !text;
    setText("problem", text);
  }

  /** Draws a turn that is watched. `place`: how many jobs are before it in the queue, or null. */
  draw({ turn: { transcript, problem }, sent, first, rate, lastEventAt, place }, now) {
    const ended = transcript.ended || problem !== null;
    const [label, className] = problem ? ["Not kept", "failed"] : describe(transcript, now - lastEventAt > SILENCE, place);
    setText("status", label);
    $("dot").className = className;
    if (ended) this.showLink(true);
    const waited = first ?? (sent !== null && !ended ? (now - sent) / 1000 : null);
    setText("first", formatSeconds(transcript.metrics?.time_to_first_token ?? waited));
    const exact = ended ? transcript.metrics?.tokens_per_second : null;
    const recent = ended ? null : rate.read(now);
    setText("rate", exact != null ? formatRate(exact) : recent != null ? `≈ ${formatRate(recent)}` : "–");
    setText("position", transcript.seq ? String(transcript.seq) : "–");
    setText("attempt", transcript.attempt ? String(transcript.attempt) : "–");
    setText("worker", formatWorker(transcript.worker));
  }
}

function describe(transcript, silent, place) {
  if (transcript.waiting?.for === "worker") return ["Waiting for a worker", "waiting"];
  if (transcript.waiting?.for === "model") return ["The model is away, trying again", "waiting"];
  if (transcript.status === "queued") return [`Queued${formatPlace(place)}`, "waiting"];
  if (transcript.status === "running") {
    const part = transcript.parts.at(-1);
    if (!part) return ["Waiting for the model", "waiting"];
    if (part.kind === "reasoning") return ["Reasoning", "live"];
    return silent ? ["Waiting for the next word", "waiting"] : ["Streaming", "live"];
  }
  return { done: ["Done", "done"], cancelled: ["Stopped", "done"], failed: ["Failed", "failed"] }[transcript.status];
}

function formatPlace(place) {
  if (place === null) return "";
  return place === 0 ? ", next in line" : `, ${place.toLocaleString("en")} before it`;
}

function formatWorker(value) {
  if (!value) return "–";
  if (typeof value === "string") return value;
  return [value.host, value.pid].filter((each) => each != null).join(" · ") || value.id || "–";
}
