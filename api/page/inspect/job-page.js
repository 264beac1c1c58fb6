// The page of one job.

import { client, hrefOf, isGone, isJobId, retryJob } from "./api.js";
import { now, setSince, setStill, since } from "./clock.js";
import { $, h, inNextFrame, reconcile, setAttribute, setHidden, setText } from "./dom.js";
import { EventsTable } from "./events-table.js";
import { drawFindings } from "./findings.js";
import { money, NONE, number, parseTime, plural, rate, seconds, visible } from "./format.js";
import { HiddenText } from "./hidden-text.js";
import { ENDED, isNewer } from "./job-list.js";
import { drawLines, jobLines } from "./redis-lines.js";
import { drawBar, drawTimeline, timesOf } from "./timeline.js";
import { TokenPlot } from "./token-plot.js";

const REREAD_AFTER = 400; // milliseconds after a change: several come at once
const TEXT = new Set(["content", "reasoning", "refusal", "tool_call_delta", "tool_call", "function_call"]);
const TEXT_EVERY = 300; // milliseconds between two drawings of a text that grows

export class JobPage {
  #job = null;
  #id = null;
  #visit = null; // AbortController: leaving ends what was begun here
  #hasBegun = false;
  #heard = { seq: 0, at: 0 }; // the newest event, and when it came
  #hasSpoken = false; // the attempt has sent text
  #problems = { reading: "", action: "" };
  #labels = new Map(); // of the buttons, as they are without an action
  #stream = null;
  #timer = null;
  #textTimer = null;
  #events = new EventsTable();
  #plot = new TokenPlot();
  #texts;
  #findings;
  #onLink;
  #drawPlot = inNextFrame(() => this.#plot.draw());

  /** `findings`: what knows which are about a job; `onLink(up)`: the stream of the job is there or lost. */
  constructor({ findings, onLink }) {
    this.#findings = findings;
    this.#onLink = onLink;
    const kept = "Not kept: the request goes with the end of its job, unless READALONG_KEEP_REQUEST says otherwise.";
    this.#texts = {
      request: new HiddenText({ title: "Request", absent: kept, load: () => this.#requestText() }),
      result: new HiddenText({ title: "Result", absent: "No text yet.", load: () => this.#resultText() }),
      metadata: new HiddenText({ title: "Metadata", absent: "None.", load: () => this.#metadataText() }),
    };
    $("texts").append(...Object.values(this.#texts).map((text) => text.element));
    $("token-plot").append(this.#plot.element);
    $("cancel").addEventListener("click", () => this.#cancel());
    $("retry").addEventListener("click", () => this.#retry());
    for (const name of ["cancel", "retry", "erase"]) this.#labels.set($(name), $(name).textContent);
    $("erase").addEventListener("click", () => this.#askToErase());
    $("erase-dialog").addEventListener("close", () => $("erase-dialog").returnValue === "erase" && this.#erase());
    $("read-along").addEventListener("click", () => this.#watch());
    setInterval(() => this.#drawLive(), 1000);
  }

  /** Shows the job. */
  open(id) {
    this.leave();
    this.#id = id;
    this.#visit = new AbortController();
    this.#hasBegun = false;
    this.#events.clear();
    for (const text of Object.values(this.#texts)) text.close();
    for (const [button, label] of this.#labels) this.#setBusy(button, false, label);
    setText($("job-title"), id);
    this.#say("reading", "");
    this.#say("action", "");
    setHidden($("job-body"), true);
    if (!isJobId(id)) return this.#say("reading", "This is not the id of a job.");
    this.drawLines();
    setAttribute($("watch"), "href", `./?job=${encodeURIComponent(id)}`);
    this.showFindings();
    return this.#read();
  }

  leave() {
    this.#visit?.abort();
    clearTimeout(this.#timer);
    clearTimeout(this.#textTimer);
    this.#timer = this.#textTimer = this.#stream = this.#job = this.#id = null;
    if ($("erase-dialog").open) $("erase-dialog").close("keep");
  }

  /** The list has heard of a change of a job. */
  changed(job) {
    if (job.id !== this.#id) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#read();
    }, REREAD_AFTER);
  }

  erased(id) {
    if (id !== this.#id) return;
    this.#showGone("This job has been erased.");
  }

  /** There is a connection again: what has happened meanwhile is read. */
  reload() {
    if (this.#id && isJobId(this.#id)) this.#read();
  }

  drawLines() {
    if (isJobId(this.#id)) drawLines($("job-lines"), jobLines(this.#id));
  }

  showFindings() {
    drawFindings($("job-findings"), this.#id ? this.#findings.ofJob(this.#id) : [], { withLinks: false });
  }

  async #read() {
    const { signal } = this.#visit;
    let job;
    try {
      job = await client.job(this.#id, { include: "timeline", signal });
    } catch (problem) {
      if (signal.aborted) return;
      if (isGone(problem)) return this.#showGone("This job does not exist, or its retention is over.");
      return this.#say("reading", problem.message);
    }
    if (signal.aborted || (this.#job && !isNewer(job, this.#job))) return;
    this.#job = job;
    this.#say("reading", "");
    setHidden($("job-body"), false);
    this.#draw();
    if (!this.#hasBegun) this.#begin();
  }

  #begin() {
    this.#hasBegun = true;
    const job = this.#job;
    this.#heard = { seq: job.last_seq, at: 0 };
    this.#hasSpoken = timesOf(job).first !== null;
    this.#events.clear({ follows: !ENDED.has(job.status) });
    // An open stream keeps such a job alive: looking at it must not change what becomes of it.
    const isKeptByWatchers = job.cancel_on_disconnect && !ENDED.has(job.status);
    setHidden($("watched"), !isKeptByWatchers);
    if (!isKeptByWatchers) this.#watch();
  }

  /** Reads the events, from the first one to the end. */
  async #watch() {
    const { signal } = this.#visit;
    setHidden($("watched"), true);
    if (this.#stream) return;
    const stream = client.watch(this.#id, { signal, retryFor: Infinity, onLink: (up) => this.#onLink(up) });
    this.#stream = stream;
    let seen = 0;
    try {
      for await (const event of stream) {
        if (signal.aborted) return;
        this.#events.add(event);
        this.#plot.add(event, Math.max(1, event.seq - seen));
        if (event.seq) seen = event.seq;
        this.#hear(event);
        this.#drawPlot();
        this.#textSoon();
      }
    } catch (problem) {
      if (signal.aborted) return;
      if (!isGone(problem)) this.#say("reading", problem.message);
    }
    if (!signal.aborted) this.changed({ id: this.#id });
  }

  /** Notes that an event has just come, and reads the timeline anew when it has a new step. */
  #hear({ type, seq }) {
    if (seq <= this.#heard.seq) return;
    this.#heard = { seq, at: now() };
    const isStep = type === "restarted" || type === "started" || (TEXT.has(type) && !this.#hasSpoken);
    this.#hasSpoken = TEXT.has(type) || (this.#hasSpoken && type === "waiting");
    if (isStep) this.changed({ id: this.#id });
  }

  /** The job, with the time of an event that has come since it was read. */
  get #current() {
    const at = Math.max(this.#heard.at, parseTime(this.#job.last_event_at) ?? 0);
    return { ...this.#job, last_event_at: new Date(at).toISOString() };
  }

  /** Draws what changes from second to second. */
  #drawLive() {
    if (!this.#job || ENDED.has(this.#job.status) || document.hidden) return;
    drawBar(this.#current);
    this.#drawFacts(this.#current, false);
  }

  #textSoon() {
    this.#textTimer ??= setTimeout(() => {
      this.#textTimer = null;
      this.#texts.result.refresh();
      const length = (this.#stream?.transcript.text || this.#job?.content || "").length;
      this.#texts.result.hint(length ? `hidden: ${plural(length, "character")}` : "hidden");
    }, TEXT_EVERY);
  }

  // Texts that are hidden until one asks for them

  async #requestText() {
    const { request } = await client.job(this.#id, { include: "request", signal: this.#visit.signal });
    return request && JSON.stringify(request, null, 2);
  }

  #resultText() {
    const transcript = this.#stream?.transcript;
    const content = (transcript?.seq ? transcript.text : this.#job.content) ?? "";
    const shortened = transcript?.toolCalls.map(({ id, name, text, arguments: parsed }) => ({ id, name, arguments: parsed ?? text }));
    const calls = (transcript?.seq ? shortened : this.#job.tool_calls) ?? [];
    const reasoning = transcript?.reasoning;
    const parts = [
      reasoning && `Reasoning:\n${reasoning}`,
      content,
      calls.length && `Tool calls:\n${JSON.stringify(calls, null, 2)}`,
    ];
    return parts.filter(Boolean).join("\n\n") || null;
  }

  #metadataText() {
    const { metadata } = this.#job;
    return metadata && Object.keys(metadata).length ? JSON.stringify(metadata, null, 2) : null;
  }

  // What one sees at once

  #draw() {
    const job = this.#job;
    const isEnded = ENDED.has(job.status);
    setAttribute($("job-state"), "data-state", job.status);
    setText($("job-state"), job.waiting_for ? `${job.status}, waits for a ${job.waiting_for}` : job.status);
    setText($("job-model"), visible(job.model));
    setSince($("job-age"), job.created_at, " ago");
    setHidden($("cancel"), isEnded);
    setHidden($("retry"), !isEnded);
    const original = isJobId(job.retry_of ?? "") ? job.retry_of : null;
    setHidden($("retry-of"), !original);
    if (original) {
      setAttribute($("original"), "href", hrefOf(original));
      setText($("original"), original);
    }
    const keys = Object.keys(job.metadata ?? {});
    this.#texts.metadata.hint(keys.length ? `hidden: ${visible(keys.join(", "))}` : "none");
    this.#texts.request.hint("hidden");
    drawTimeline(this.#current);
    this.#plot.show(job);
    this.#drawFacts(this.#current, isEnded);
    this.showFindings();
    this.#textSoon();
  }

  #drawFacts(job, isEnded) {
    const { metrics = null, usage = null, worker, cost, error } = job;
    const times = timesOf(job);
    const progress = this.#plot.progress;
    const tokens = [
      [usage?.prompt_tokens ?? metrics?.prompt_tokens, "in"],
      [usage?.completion_tokens ?? metrics?.completion_tokens ?? metrics?.chunk_count ?? progress.count, "out"],
    ].filter(([count]) => typeof count === "number");
    const facts = [
      error && ["Error", [error.code, error.message].filter(Boolean).join(": ")],
      ["Attempt", number(job.attempt)],
      worker && ["Worker", [worker.host, worker.pid].filter(Boolean).join(" · ")],
      !isEnded && ["Last event", { since: job.last_event_at }],
      ["In the queue", seconds(metrics?.queue_seconds ?? times.queue)],
      ["First token after", seconds(metrics?.time_to_first_token ?? times.first)],
      ["Took", isEnded ? seconds(metrics?.total_seconds) : { since: job.created_at, still: true }],
      ["Tokens", tokens.map(([count, way]) => `${number(count)} ${way}`).join(", ") || NONE],
      ["Tokens a second", rate(metrics?.tokens_per_second ?? progress.rate)],
      cost && ["Cost", money(cost.amount, cost.currency)],
      job.finish_reason && ["Finish reason", job.finish_reason],
      job.deadline && ["Deadline", job.deadline],
      ["A lost worker", job.on_worker_lost === "fail" ? "ends it" : "starts it over"],
      ["Without watchers", job.cancel_on_disconnect ? "is cancelled" : "goes on"],
    ].filter(Boolean);
    reconcile($("facts"), facts, {
      key: ([name]) => name,
      make: ([name]) => h("div", {}, h("dt", {}, name), h("dd", {}, since(null))),
      update: (node, [, value]) => drawFact(node, value),
    });
  }

  // Actions

  async #act(button, busy, action) {
    const { signal } = this.#visit;
    this.#setBusy(button, true, busy);
    this.#say("action", "");
    try {
      return await action(this.#id);
    } catch (problem) {
      if (!signal.aborted) this.#say("action", problem.message);
      return null;
    } finally {
      // The page of another job has buttons of its own.
      if (this.#visit.signal === signal) this.#setBusy(button, false, this.#labels.get(button));
    }
  }

  #setBusy(button, isBusy, label) {
    button.disabled = isBusy;
    setText(button, label);
  }

  async #cancel() {
    const job = await this.#act($("cancel"), "Cancelling …", (id) => client.cancel(id));
    if (!job || job.id !== this.#id) return;
    if (!ENDED.has(job.status)) setText($("cancel"), "Cancel asked for");
    this.#read();
  }

  #askToErase() {
    // In some browsers Escape leaves the value of the last time, which may have been a yes to another job.
    $("erase-dialog").returnValue = "keep";
    $("erase-dialog").showModal();
  }

  async #erase() {
    const id = this.#id;
    const done = await this.#act($("erase"), "Erasing …", async () => {
      await client.erase(id);
      return true;
    });
    if (done && id === this.#id) this.#showGone("This job has been erased.");
  }

  async #retry() {
    const mine = this.#id;
    const job = await this.#act($("retry"), "Asking …", (id) => retryJob(id));
    if (job && mine === this.#id) location.hash = hrefOf(job.id);
  }

  #showGone(text) {
    this.#visit.abort();
    this.#job = null;
    setHidden($("job-body"), true);
    this.#say("action", "");
    this.#say("reading", text);
  }

  /** Shows a problem, or none. One of an action stays when the job is read anew. */
  #say(kind, problem) {
    this.#problems[kind] = problem;
    const text = this.#problems.action || this.#problems.reading;
    setText($("job-problem"), text);
    setHidden($("job-problem"), !text);
  }
}

function drawFact(node, value) {
  const time = node.querySelector("time");
  if (value?.since) setSince(time, value.since, value.still ? "" : " ago");
  else setStill(time, visible(value));
}
