// The conversation on the page: asks, watches its last turn, and brings back the turns of a link.

import { makeBody, previousJobs, readQuestion } from "./conversation.js";
import { element } from "./dom.js";
import { Rate } from "./rate.js";
import { ApiError, Client, Transcript } from "./readalong.js";
import { TurnView } from "./turn.js";

const RETRY_FOR = 20_000; // milliseconds, for a submit or a stop
/** The events whose text counts for the rate. */
const PIECES = new Set(["content", "reasoning", "refusal", "tool_call_delta"]);
const PLACE_EVERY = 2000;
// A browser has six connections to a server for all tabs together: one that nobody sees leaves its own to others.
const HIDDEN_FOR = 30_000;

const client = new Client({ baseUrl: "./" });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Returns a unique key. Pages on plain http have no randomUUID, since they are no secure context. */
function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Chat {
  /** Each with `id`, `question`, `transcript`, `view`, `thread`, `isNewest` and `problem`; oldest first. */
  turns = [];
  /** The last turn while it is watched, with its numbers. */
  live = null;
  #list;
  #ui;
  #loading = Promise.resolve(); // loads the earlier turns of a link
  #unsent = null; // { body, key } of a submit without a response
  #newThread = newKey();
  #view = 0; // changes when the page shows another conversation, so that late responses are dropped
  #hiding = 0;
  #threads = new Map();

  /** `list`: the element of the turns. `ui`: what is called when something is to be shown; see main.js. */
  constructor(list, ui) {
    this.#list = list;
    this.#ui = ui;
  }

  get isRunning() {
    return this.live !== null && !this.live.turn.transcript.ended && this.live.turn.problem === null;
  }

  /** Asks. `instead`: a turn that the new one replaces, with all that follow it. */
  async ask(question, model, instead = null) {
    const mine = this.#view;
    this.#ui.problem("");
    this.#ui.busy("Sending");
    await this.#loading;
    if (mine !== this.#view) return;
    const earlier = instead ? this.turns.slice(0, this.turns.indexOf(instead)) : this.turns;
    const body = makeBody(question, earlier, this.#newThread);
    if (model) body.model = model;
    // The same body after a lost response: the same key, so the same job.
    const same = this.#unsent && JSON.stringify(this.#unsent.body) === JSON.stringify(body);
    this.#unsent = { body, key: same ? this.#unsent.key : newKey() };
    const sent = performance.now();
    let job;
    try {
      job = await client.submit(body, { idempotencyKey: this.#unsent.key, retryFor: RETRY_FOR });
    } catch (error) {
      if (mine !== this.#view) return;
      this.#ui.problem(error.message);
      return this.#ui.idle();
    }
    if (mine !== this.#view) return;
    this.#unsent = null;
    this.#newThread = newKey();
    for (const turn of this.turns.splice(earlier.length)) turn.view.element.remove();
    this.#ui.asked(question, job.id);
    this.#follow(this.#add(job, question, new Transcript(sent)), { sent });
  }

  async stop() {
    const { turn } = this.live;
    this.#ui.stopping(true);
    try {
      await client.cancel(turn.id, { retryFor: RETRY_FOR });
    } catch (error) {
      if (turn !== this.live?.turn) return;
      this.#ui.stopping(false);
      this.#ui.problem(error.message);
    }
  }

  clear() {
    this.#view += 1;
    this.live?.controller.abort();
    this.live = null;
    this.turns = [];
    this.#unsent = null;
    this.#newThread = newKey();
    this.#loading = Promise.resolve();
    this.#list.replaceChildren();
    this.#ui.problem("");
    this.#ui.cleared();
  }

  /** Shows a job, and the turns before it. */
  async open(id) {
    this.clear();
    const mine = this.#view;
    this.#ui.busy("Opening");
    let job;
    try {
      job = await this.#inspect(id, (error) => mine === this.#view && this.#ui.problem(error.message));
    } catch (error) {
      if (mine !== this.#view) return;
      this.#ui.problem(error.message);
      return this.#ui.idle();
    }
    if (mine !== this.#view) return;
    this.#ui.problem("");
    const turn = this.#add(job, readQuestion(job), new Transcript());
    this.#loading = this.#loadEarlier(job, turn, mine);
    this.#follow(turn, { known: job.last_seq });
  }

  /** Connects anew: the computer has slept. */
  reconnect() {
    if (this.isRunning) this.live.stream?.reconnect();
  }

  /** Gives the connection back while the page is hidden, and goes on where it was when it is seen again. */
  setHidden(yes) {
    clearTimeout(this.#hiding);
    if (yes) this.#hiding = setTimeout(() => this.isRunning && this.live.controller.abort(), HIDDEN_FOR);
    else if (this.isRunning && this.live.controller.signal.aborted) this.#watch(this.live);
  }

  /** `sent`: when this tab submitted. `known`: events up to this number are history, and do not count for the rate. */
  #follow(turn, { sent = null, known = 0 }) {
    this.live?.controller.abort();
    const mine = { turn, sent, known, first: null, place: null, rate: new Rate(), lastEventAt: performance.now() };
    this.live = mine;
    this.#ui.idle();
    this.#ui.watching(turn.id);
    this.#watch(mine);
    this.#findPlace(mine);
  }

  async #watch(mine) {
    const { turn } = mine;
    const { signal } = (mine.controller = new AbortController());
    const onLink = (up) => mine === this.live && this.#ui.link(up);
    const options = { transcript: turn.transcript, readers: true, retryFor: Infinity, signal, onLink };
    try {
      mine.stream = client.watch(turn.id, options);
      for await (const event of mine.stream) this.#receive(mine, event);
      // It has ended, and its last event cannot be read any more.
      if (!turn.transcript.ended) turn.transcript = Transcript.fromJob(await client.job(turn.id, { retryFor: Infinity, signal }));
    } catch (error) {
      if (signal.aborted) return;
      turn.problem = error.message;
      this.#ui.problem(error.message);
    }
    this.#ui.changed();
  }

  #receive(mine, event) {
    if (event.type === "readers") return this.#ui.readers(event.data.count);
    const now = (mine.lastEventAt = performance.now());
    const { seq, data } = event;
    const before = mine.seen ?? 0;
    mine.seen = seq;
    // An event may merge history and new text: only the share of the new numbers counts.
    const newShare = (seq - Math.max(mine.known, before)) / (seq - before);
    if (newShare > 0 && PIECES.has(event.type)) mine.rate.add(now, newShare * (data.content ?? data.arguments ?? "").length);
    if (mine.first === null && mine.sent !== null && mine.turn.transcript.parts.length) mine.first = (now - mine.sent) / 1000;
    this.#ui.changed();
  }

  /** Says how many jobs wait before a queued one, while it waits. */
  async #findPlace(mine) {
    const { turn } = mine;
    while (mine === this.live && turn.transcript.status === "queued") {
      await sleep(mine.place === null ? PLACE_EVERY / 4 : PLACE_EVERY);
      if (mine !== this.live || turn.transcript.status !== "queued" || document.hidden) continue;
      try {
        const filter = { status: "queued", createdBefore: turn.createdAt, limit: 200 };
        mine.place = (await client.jobs(filter, { retryFor: 0 })).jobs.length;
      } catch {
        return; // the policy may hide the list; the place is a courtesy
      }
      this.#ui.changed();
    }
  }

  #add(job, question, transcript) {
    const view = new TurnView(question, (text) => this.#ui.announce(text));
    const turn = { id: job.id, question, transcript, view, thread: job.thread, isNewest: true, problem: null };
    turn.createdAt = job.created_at;
    if (this.turns.length) this.turns.at(-1).isNewest = false;
    this.turns.push(turn);
    this.#list.append(view.element);
    return turn;
  }

  /** Returns the job, as soon as the server is there. Throws if there is no such job. */
  async #inspect(id, onProblem = () => {}) {
    for (;;) {
      try {
        return await client.job(id, { include: "request", retryFor: RETRY_FOR });
      } catch (error) {
        if (error instanceof ApiError && !error.retryable) throw error;
        onProblem(error);
        await sleep(2000);
      }
    }
  }

  /** Adds the earlier turns, newest first, each above the next. */
  async #loadEarlier(last, turn, mine) {
    if (last.thread) await this.#checkNewest(turn);
    const jobs = previousJobs(last, (id) => this.#inspect(id), (thread) => this.#jobsOf(thread));
    for (;;) {
      const { value, done } = await jobs.next();
      if (mine !== this.#view) return;
      if (done) return value && this.#list.prepend(element("p", "note", value));
      const earlier = { id: value.id, question: readQuestion(value), transcript: Transcript.fromJob(value), problem: null };
      earlier.view = new TurnView(earlier.question);
      earlier.view.draw(earlier.transcript);
      this.turns.unshift(earlier);
      this.#list.prepend(earlier.view.element);
      this.#ui.changed();
    }
  }

  /** A turn that others have followed is no end of its thread: a question after it begins a thread of its own. */
  async #checkNewest(turn) {
    const jobs = await this.#jobsOf(turn.thread);
    turn.isNewest = jobs[0]?.id === turn.id;
  }

  /** Returns the jobs of a thread, newest first; none if they may not be listed. */
  #jobsOf(thread) {
    if (!this.#threads.has(thread)) {
      const listed = client.jobs({ thread, limit: 200 }).then(({ jobs }) => jobs, () => []);
      this.#threads.set(thread, listed);
    }
    return this.#threads.get(thread);
  }
}
