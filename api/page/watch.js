// Watches a job: every event once, in order, up to the terminal event, across connections.

import { backoffDelay, inspect, pathOf } from "./api.js";
import { TERMINAL, TYPES } from "./transcript.js";

/** The number in an event's id, such as `40-9f3c21`. */
const numberOf = (id) => Number.parseInt(id, 10) || 0;

export class Watcher {
  #id;
  #handlers;
  #position = ""; // the id of the last event
  #source = null;
  #tries = 0;
  #timer = null;
  #closed = false;
  #retryNow = () => this.#timer && this.#inspect();

  /**
   * Handlers: `event(seq, type, data)`; `link(up)` when the connection is made or lost; `gone(problem)` when the job no
   * longer exists; `ended(job)` when it has ended and its last event cannot be read.
   */
  constructor(id, handlers) {
    this.#id = id;
    this.#handlers = handlers;
    addEventListener("online", this.#retryNow);
    this.#open();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#source?.close();
    removeEventListener("online", this.#retryNow);
  }

  #open() {
    const source = new EventSource(`${pathOf(this.#id)}/events${this.#position && `?after=${this.#position}`}`);
    this.#source = source;
    source.onopen = () => {
      this.#tries = 0;
      this.#handlers.link(true);
    };
    source.onerror = () => {
      if (this.#closed) return;
      this.#handlers.link(false);
      // It reconnects by itself with Last-Event-ID, except after an HTTP error or a 204.
      if (source.readyState === EventSource.CLOSED) this.#scheduleRetry();
    };
    for (const type of TYPES) source.addEventListener(type, (event) => this.#receive(type, event));
  }

  #receive(type, event) {
    if (this.#closed) return;
    this.#position = event.lastEventId;
    // An open EventSource would reconnect after the end.
    if (TERMINAL.has(type)) this.close();
    this.#handlers.event(numberOf(event.lastEventId), type, JSON.parse(event.data));
  }

  #scheduleRetry() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#inspect(), backoffDelay(this.#tries));
    this.#tries += 1;
  }

  /** Asks for the job: EventSource does not tell why it was refused. */
  async #inspect() {
    clearTimeout(this.#timer);
    this.#timer = null;
    let job;
    try {
      job = await inspect(this.#id);
    } catch (problem) {
      if (this.#closed) return;
      if (!problem.isGone) return this.#scheduleRetry();
      this.close();
      return this.#handlers.gone(problem);
    }
    if (this.#closed) return;
    if (TERMINAL.has(job.status) && job.last_seq <= numberOf(this.#position)) {
      this.close();
      return this.#handlers.ended(job);
    }
    this.#open();
  }
}
