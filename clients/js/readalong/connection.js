// One request, and when the next one is tried.

import { lost, throwIfAborted } from "./errors.js";

const LONGEST_WAIT = 5_000; // milliseconds between two tries
const LONGEST_TIMER = 2 ** 31 - 1;

/** Calls `end` when the signal aborts, or a browser is online again. Returns a function that forgets it. */
function onInterrupt(signal, end, online) {
  const sources = [[signal, "abort"], ...(online ? [[globalThis, "online"]] : [])];
  for (const [target, type] of sources) target?.addEventListener?.(type, end);
  // A signal may live as long as the page: it must not keep each of its requests.
  return () => sources.forEach(([target, type]) => target?.removeEventListener?.(type, end));
}

/** One request. It ends with the caller's signal, by `close`, or when it takes too long. */
export class Connection {
  #controller = new AbortController();
  #caller;
  #forget;
  signal = this.#controller.signal;

  /** `online`: a network that came back has ended the connection, perhaps without notice. */
  constructor(caller, online = false) {
    throwIfAborted(caller);
    this.#caller = caller;
    this.#forget = onInterrupt(caller, () => this.close(), online);
  }

  close() {
    this.#forget();
    this.#controller.abort();
  }

  async within(milliseconds, promise) {
    let late = false;
    const timer = setTimeout(() => ((late = true), this.close()), Math.min(milliseconds, LONGEST_TIMER));
    try {
      return await promise;
    } catch (error) {
      throwIfAborted(this.#caller);
      if (late) throw lost("timeout", `The API was silent for ${milliseconds / 1000} s.`, error);
      // Node and others tell in their own ways; browsers do not.
      const why = [error, error?.cause].map((each) => `${each?.code} ${each?.message}`).join();
      if (/refused|ENOTFOUND|dns error/i.test(why)) throw lost("refused", "There is no API at this address.", error);
      throw lost("unreachable", "The API cannot be reached, or the connection broke.", error);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Decides whether, when and at which replica a request is tried again. */
export class Retry {
  #limit;
  #longestWait;
  #since = null;
  tries = 0;

  constructor({ retryFor, longestWait = LONGEST_WAIT }, replica, replicas) {
    [this.#limit, this.#longestWait] = [retryFor, longestWait];
    Object.assign(this, { replica, replicas });
  }

  reset() {
    this.#since = null;
    this.tries = 0;
  }

  /** Waits. Throws the error if it is permanent, or if trouble has lasted too long. */
  async wait(error, signal, reached, atLeast = 0) {
    throwIfAborted(signal);
    if (!error.retryable) throw error;
    this.#since ??= performance.now();
    this.tries += 1;
    this.replica = (this.replica + 1) % this.replicas;
    if (this.tries < this.replicas) return;
    const left = this.#limit - (performance.now() - this.#since);
    // The address is most likely wrong.
    const isWrong = error.code === "refused" && !reached && this.#limit !== Infinity;
    if (left <= 0 || isWrong) throw error;
    // Jitter: a thousand watchers of a restarted API must not come back at the same moment.
    const backoff = Math.min(this.#longestWait, 100 * 2 ** Math.min(16, this.tries - this.replicas)) * (0.5 + Math.random() / 2);
    const wait = Math.min(left, LONGEST_TIMER, Math.max(backoff, atLeast, (error.retryAfter ?? 0) * 1000));
    await new Promise((resolve) => {
      const end = () => (clearTimeout(timer), forget(), resolve());
      const timer = setTimeout(end, wait);
      const forget = onInterrupt(signal, end, true);
    });
    throwIfAborted(signal);
  }
}
