// One watcher of a job: every event once, in order, to the terminal one, whatever the connection does.

import { inspect, pathOf } from "./calls.js";
import { TERMINAL, TYPES } from "./fold.js";
import { backOff } from "./rate.js";

/** The number in an event's id, such as `40-9f3c21`. */
const numberOf = (id) => Number.parseInt(id, 10) || 0;

export class Watcher {
  #id;
  #on;
  #position = ""; // the id of the last event, which names the log that it is of
  #source = null;
  #tries = 0;
  #timer = null;
  #over = false;
  #hurry = () => this.#timer && this.#look();

  /**
   * `on.event(seq, type, data)`; `on.link(up)` as the connection comes and goes; `on.gone(problem)` when there is no
   * such job any more; `on.ended(job)` when it ended and its last event cannot be had.
   */
  constructor(id, on) {
    this.#id = id;
    this.#on = on;
    addEventListener("online", this.#hurry);
    this.#open();
  }

  close() {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#source?.close();
    removeEventListener("online", this.#hurry);
  }

  #open() {
    const source = new EventSource(`${pathOf(this.#id)}/events${this.#position && `?after=${this.#position}`}`);
    this.#source = source;
    source.onopen = () => {
      this.#tries = 0;
      this.#on.link(true);
    };
    source.onerror = () => {
      if (this.#over) return;
      this.#on.link(false);
      // It comes back by itself with Last-Event-ID, except after an HTTP error or a 204.
      if (source.readyState === EventSource.CLOSED) this.#later();
    };
    for (const type of TYPES) source.addEventListener(type, (event) => this.#take(type, event));
  }

  #take(type, event) {
    if (this.#over) return;
    this.#position = event.lastEventId;
    // Left open, it would reconnect after the end.
    if (TERMINAL.has(type)) this.close();
    this.#on.event(numberOf(event.lastEventId), type, JSON.parse(event.data));
  }

  #later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), backOff(this.#tries));
    this.#tries += 1;
  }

  /** EventSource does not tell why it was refused: the job itself does. */
  async #look() {
    clearTimeout(this.#timer);
    this.#timer = null;
    let job;
    try {
      job = await inspect(this.#id);
    } catch (problem) {
      if (this.#over) return;
      if (!problem.gone) return this.#later();
      this.close();
      return this.#on.gone(problem);
    }
    if (this.#over) return;
    if (TERMINAL.has(job.status) && job.last_seq <= numberOf(this.#position)) {
      this.close();
      return this.#on.ended(job);
    }
    this.#open();
  }
}
