// What happened to a job, and how long each part took.

import { now } from "./clock.js";
import { $, h, reconcile, setAttribute, setText } from "./dom.js";
import { fullTime, parseTime, seconds, visible } from "./format.js";
import { ENDED } from "./job-list.js";

const WORDS = {
  submitted: "Submitted",
  started: "A worker has begun",
  restarted: "Started over",
  first_token: "First token",
  cancel_requested: "Cancel asked for",
  ended: "Ended",
};

/** What a job does after each of these. */
const PHASES = { submitted: "queued", started: "model", restarted: "model", first_token: "streaming" };
const PHASE_WORDS = { queued: "in the queue", model: "waiting for the model", streaming: "streaming", silent: "no event" };
const SILENT = 10_000; // milliseconds without an event after which that is a part of its own

/** The steps of a job, of its timeline, or of its times if the API has kept no more. */
function stepsOf(job) {
  const steps = job.timeline ?? [
    { at: job.created_at, what: "submitted" },
    job.started_at && { at: job.started_at, what: "started", attempt: job.attempt, worker: job.worker },
    job.ended_at && { at: job.ended_at, what: "ended", reason: job.status },
  ];
  return steps.filter(Boolean).map((step) => ({ ...step, ms: parseTime(step.at) })).filter(({ ms }) => ms !== null);
}

/** Seconds in the queue and to the first token, of a job that has no metrics yet; null if they are not over. */
export function timesOf(job) {
  const steps = stepsOf(job);
  const after = (what) => {
    const ms = steps.find((step) => step.what === what)?.ms;
    return ms === undefined ? null : (ms - steps[0].ms) / 1000;
  };
  return { queue: after("started"), first: after("first_token") };
}

/** The parts of a job's life: [{ phase, from, to }], milliseconds; the last one of a live job goes up to `until`. */
function phasesOf(job, until) {
  const phases = [];
  for (const step of stepsOf(job)) {
    const last = phases.at(-1);
    const phase = PHASES[step.what];
    if (step.what !== "ended" && !phase) continue;
    if (last) last.to = step.ms;
    if (phase) phases.push({ phase, from: step.ms, to: step.ms });
  }
  const last = phases.at(-1);
  if (!last || ENDED.has(job.status)) return phases;
  last.to = Math.max(until, last.from);
  const spokeAt = Math.max(last.from, parseTime(job.last_event_at) ?? last.from);
  if (job.status === "running" && last.to - spokeAt > SILENT) {
    phases.push({ phase: "silent", from: spokeAt, to: last.to });
    last.to = spokeAt;
  }
  return phases;
}

export function drawTimeline(job) {
  drawBar(job);
  const steps = stepsOf(job);
  const start = steps[0]?.ms ?? 0;
  const keyed = steps.map((step, index) => ({ ...step, key: `${index} ${step.what}` }));
  reconcile($("steps"), keyed, {
    key: (step) => step.key,
    make: () => h("li", {}, h("time", { class: "number" }), h("span")),
    update: (node, step) => {
      const [time, text] = node.children;
      setText(time, `+${seconds((step.ms - start) / 1000)}`);
      setAttribute(time, "datetime", step.at);
      setAttribute(time, "title", fullTime(step.ms));
      setAttribute(node, "data-what", step.what === "ended" ? job.status : step.what);
      setText(text, wordsOf(step, job));
    },
  });
}

function wordsOf(step, job) {
  const worker = step.worker && [step.worker.host, step.worker.pid].filter(Boolean).join(" · ");
  return [
    step.what === "ended" ? `Ended: ${job.status}` : (WORDS[step.what] ?? visible(step.what)),
    step.attempt && (step.what === "started" || step.what === "restarted") && `attempt ${step.attempt}`,
    worker && visible(worker),
    step.reason && step.reason !== job.status && visible(step.reason),
  ].filter(Boolean).join(", ");
}

/** Draws the parts as a bar. Also called each second, for the last part of a live job grows. */
export function drawBar(job) {
  const phases = phasesOf(job, now()).map((each, index) => ({ ...each, key: index }));
  reconcile($("phases"), phases, {
    key: ({ key }) => key,
    make: () => h("li", {}, h("span")),
    update: (node, { phase, from, to }) => {
      const text = `${PHASE_WORDS[phase]}, ${seconds((to - from) / 1000)}`;
      setAttribute(node, "data-phase", phase);
      setAttribute(node, "title", text);
      setText(node.firstElementChild, text);
      // A part of nothing stays visible as a line.
      node.style.flexGrow = String(Math.max(to - from, 0));
    },
  });
}
