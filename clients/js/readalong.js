// The JavaScript client of readalong, for browsers, Node 18 and later, Deno and Bun. No dependency.

import { Connection, Retry } from "./readalong/connection.js";
import {
  ApiError, JobFailedError, lost, misuse, reasonOf, RestartedError, throwIfAborted, unreadable,
} from "./readalong/errors.js";
import { EventStreamDecoder } from "./readalong/sse.js";
import { TERMINAL, Transcript } from "./readalong/transcript.js";

export { ApiError, ConnectionError, JobFailedError, ProtocolError, ReadalongError, RestartedError, UsageError } from "./readalong/errors.js";
export { EventStreamDecoder, TERMINAL, Transcript };

const SSE = "text/event-stream";
// Milliseconds.
const RESPONSE_WITHIN = 15_000;
const SILENCE = 45_000; // three of the API's comments are missing: the connection is dead
const STABLE = 5_000; // what ends a connection that lasted so long is no continued trouble
const RETRY_CALLS_FOR = 10_000;
const RETRY_STREAMS_FOR = 60_000;
const GRACE = 30; // seconds after which the server cancels the job of a program that was killed
// Redirects are not followed: credentials would go to where a proxy sends them.
const FETCH = { cache: "no-store", redirect: "manual" };
const TUNING = ["retryFor", "silence", "longestWait", "maxEventLength"];

/** An API, or several replicas of it. */
export class Client {
  #urls;
  #headers;
  #fetch;
  #tuning;
  #replica = 0; // that responded last
  #reached; // once: its address is right

  constructor({ baseUrl, headers, fetch = globalThis.fetch, ...options } = {}) {
    if (typeof fetch !== "function") throw misuse("This runtime has no fetch; Node has it since version 18.");
    this.#urls = [baseUrl ?? defaultUrl()].flat().map(apiUrl);
    this.#reached = baseUrl === undefined; // the page came from there
    if (!this.#urls.length) throw misuse("baseUrl names no API.");
    this.#headers = typeof headers === "function" ? headers : () => headers;
    this.#fetch = (...call) => fetch.apply(globalThis, call);
    this.#tuning = pick(options, TUNING);
  }

  /** Submits a job, once however often the request is repeated. Returns it. */
  async submit(body, { idempotencyKey = newKey(), ...options } = {}) {
    const job = await this.#call("POST", "v1/jobs", { ...options, body, headers: { "Idempotency-Key": idempotencyKey } });
    if (typeof job?.id !== "string") throw unreadable("The response to the submit is no job.");
    return job;
  }

  job(jobId, { include, ...options } = {}) {
    return this.#call("GET", jobPath(jobId), { ...options, query: { include } });
  }

  /** Returns a page: `jobs`, and `next` for `jobs({ next })`. */
  jobs({ next, ...filter } = {}, options = {}) {
    const query = next ? Object.fromEntries(new URLSearchParams(next.split("?")[1])) : filterQuery(filter);
    return this.#call("GET", "v1/jobs", { ...options, query });
  }

  /** Cancels the job, and returns it. An ended job keeps its end. */
  cancel(jobId, options = {}) {
    return this.#call("POST", `${jobPath(jobId)}/cancel`, options);
  }

  /** Erases the job. One that has not ended is cancelled. */
  async erase(jobId, options = {}) {
    await this.#call("DELETE", jobPath(jobId), options);
  }

  /** Any other call: returns its JSON, or undefined if there is none. `query` is an object, `body` is sent as JSON. */
  request(method, path, options = {}) {
    return this.#call(method, path.replace(/^\//, ""), options);
  }

  /** Iterates over the events of a job after a position, over as many connections as it takes. */
  watch(jobId, { after, transcript = new Transcript(), readers = null, ...options } = {}) {
    const path = `${jobPath(jobId)}/events`;
    let position = transcript.position || String(after ?? "");
    transcript.seq ||= numberOf(position);
    const ask = () => {
      // Until the server has named a position, "latest" is none that a header may have.
      if (position === "latest") return { query: { after: position, readers } };
      return { query: { readers }, headers: numberOf(position) ? { "Last-Event-ID": position } : {} };
    };
    const read = ({ type, data, id }) => {
      if (id && !/^\d/.test(id)) throw unreadable(`An event has the id ${id}.`, null, true);
      const event = { type, position: id ?? "", seq: id ? numberOf(id) : transcript.seq, data: data && parse(data, true) };
      if (id) position = id;
      // Without data it is a position without an event.
      return event.data && transcript.apply(event) ? event : null;
    };
    return new EventStream((run) => this.#follow(path, ask, read, run), { jobId, transcript }, options);
  }

  /** Iterates over the changes of jobs and of the status, without an end. At each `connected`, load the list anew. */
  changes(filter = {}, options = {}) {
    const query = filterQuery(filter);
    let connections = 0;
    const read = ({ type, data }) => {
      if (type === "connected") return { type, data: { again: connections++ > 0 } };
      return data === null ? null : { type, data: parse(data, true) };
    };
    return new EventStream((run) => this.#follow("v1/changes", () => ({ query }), read, run), {}, options);
  }

  /**
   * Submits and watches. Returns the transcript of a job that is done or cancelled, throws JobFailedError for one that
   * failed. Aborting the signal cancels the job. Options without a meaning here are parameters of the model.
   */
  async streamChat(messages, options = {}) {
    const { onJob, onContent, onEvent, onRestarted, onLink, signal, keepRunning, idempotencyKey, ...others } = options;
    const tuning = pick(others, TUNING);
    const parameters = Object.fromEntries(Object.entries(others).filter(([name]) => !TUNING.includes(name)));
    const wrong = Object.keys(parameters).find((name) => typeof parameters[name] === "function");
    if (wrong) throw misuse(`streamChat has no option ${wrong}.`);
    throwIfAborted(signal);
    const transcript = new Transcript(performance.now());
    const body = { cancel_on_disconnect: keepRunning ? false : GRACE, ...parameters, messages };
    // An abort does not end the submit: only its response names the job that is to be cancelled.
    const submitted = this.submit(body, { ...tuning, idempotencyKey });
    let handed = false;
    try {
      const job = await unlessAborted(submitted, signal);
      onJob?.(job);
      for await (const event of this.watch(job.id, { ...tuning, signal, onLink, transcript })) {
        const { type, data } = event;
        onEvent?.(event, transcript);
        if (type === "restarted") {
          // The caller would join the texts of two attempts.
          if (handed && !onRestarted) throw restarted(job.id, data);
          onRestarted?.(data, transcript);
        } else if (onContent && type === "content" && data.content && !data.choice) {
          handed = true;
          onContent(data.content, transcript);
        }
      }
      const whole = transcript.ended ? transcript : Transcript.fromJob(await this.job(job.id, { ...tuning, signal }));
      if (whole.status === "failed") throw failed(job.id, whole);
      return whole;
    } catch (error) {
      // Where this fails, the server cancels the job after GRACE seconds without a watcher.
      const cancel = (job) => this.cancel(job.id, { ...tuning, retryFor: 0 });
      if (!keepRunning && !transcript.ended) submitted.then(cancel).catch(() => {});
      throw error;
    }
  }

  async #call(method, path, { signal, wait, query, body, headers, ...options }) {
    const retry = this.#retry(options, RETRY_CALLS_FOR);
    for (;;) {
      const connection = new Connection(signal);
      try {
        const response = await this.#send(method, path, { query, body, headers, wait }, retry, connection);
        const text = await connection.within(RESPONSE_WITHIN, response.text());
        return text ? parse(text) : undefined;
      } catch (error) {
        // The response to an earlier try was lost.
        if (method === "DELETE" && error.status === 404 && retry.tries) return undefined;
        await retry.wait(error, signal, this.#reached);
      } finally {
        connection.close();
      }
    }
  }

  /** Yields what `read` makes of the messages of a stream, and of each connection. Ends at a 204 and at a last event. */
  async *#follow(path, ask, read, run) {
    const { silence = SILENCE, maxEventLength } = { ...this.#tuning, ...pick(run, TUNING) };
    const { signal, onLink } = run;
    const retry = this.#retry(run, RETRY_STREAMS_FOR);
    for (;;) {
      const connection = (run.connection = new Connection(signal, true));
      const decoder = new EventStreamDecoder(maxEventLength);
      try {
        const { query, headers } = ask();
        const response = await this.#send("GET", path, { query, headers: { Accept: SSE, ...headers } }, retry, connection);
        if (response.status === 204) return;
        if (!response.headers.get("Content-Type")?.startsWith(SSE)) throw unreadable("The response is no event stream.");
        const opened = performance.now();
        onLink?.(true, null);
        const connected = read({ type: "connected", data: null, id: null });
        if (connected) yield connected;
        const reader = response.body.getReader();
        for (;;) {
          const { done, value } = await connection.within(silence, reader.read());
          if (done) throw lost("cut", "The stream ended early.");
          if (performance.now() - opened > STABLE) retry.reset();
          for (const message of decoder.feed(value)) {
            throwIfAborted(signal);
            const event = read(message);
            if (!event) continue;
            retry.reset();
            yield event;
            if (TERMINAL.has(event.type)) return;
          }
        }
      } catch (error) {
        throwIfAborted(signal);
        if (error.retryable) onLink?.(false, error);
        await retry.wait(error, signal, this.#reached, decoder.retry);
      } finally {
        connection.close();
      }
    }
  }

  #retry(options, retryFor) {
    return new Retry({ retryFor, ...this.#tuning, ...pick(options, TUNING) }, this.#replica, this.#urls.length);
  }

  /** Sends one request to the replica of `retry`. Returns the response if it is a success. */
  async #send(method, path, { query, headers, body, wait = 0 }, retry, connection) {
    const url = new URL(path, this.#urls[retry.replica]);
    for (const [name, value] of Object.entries(query ?? {})) if (value != null && value !== "") url.searchParams.set(name, value);
    const all = new Headers(await this.#headers());
    for (const [name, value] of Object.entries(headers ?? {})) all.set(name, value);
    if (body !== undefined) all.set("Content-Type", "application/json");
    if (wait) all.set("Prefer", `wait=${wait}`);
    // With keepalive a page that is being closed still cancels.
    const keepalive = path.endsWith("/cancel");
    const init = { method, headers: all, body: JSON.stringify(body), signal: connection.signal, keepalive, ...FETCH };
    const response = await connection.within(RESPONSE_WITHIN + wait * 1000, this.#fetch(url.href, init));
    [this.#reached, this.#replica] = [true, retry.replica];
    if (!response.ok) throw apiError(response, await connection.within(RESPONSE_WITHIN, response.text()));
    return response;
  }
}

/** The events of a job, or the changes of all jobs: an async iterator. */
export class EventStream {
  #run;
  #caller;
  #events;
  #closing = new AbortController();
  #isTaken = false;
  #isOver = false;

  constructor(follow, fields, { signal, ...options }) {
    Object.assign(this, fields);
    this.#caller = signal;
    this.#run = { ...options, signal: this.#closing.signal };
    signal?.addEventListener("abort", this.#abort);
    if (signal?.aborted) this.#abort();
    this.#events = follow(this.#run);
  }

  #abort = () => this.#closing.abort(reasonOf(this.#caller));

  #release(isOver) {
    this.#isOver ||= isOver;
    this.#caller?.removeEventListener("abort", this.#abort);
    this.#closing.abort();
  }

  /** Returns the next event. After an abort each call throws the reason of the signal. */
  async next() {
    if (this.#isOver) return { done: true, value: undefined };
    throwIfAborted(this.#caller);
    try {
      const result = await this.#events.next();
      if (result.done) this.#release(true);
      return result;
    } catch (error) {
      if (this.#isOver) return { done: true, value: undefined }; // closed while it waited
      this.#release(false);
      throw error;
    }
  }

  /** Closes the connection. The job goes on. */
  async return(value) {
    this.#release(true);
    return { done: true, value };
  }

  /** Closes the connection, and goes on after the last event: for a computer that has slept. */
  reconnect() {
    this.#run.connection?.close();
  }

  [Symbol.asyncIterator]() {
    if (this.#isTaken || this.#isOver) throw misuse("This stream was read or closed. Call watch or changes again.");
    this.#isTaken = true;
    return this;
  }
}

const numberOf = (position) => Number.parseInt(position, 10) || 0;
const pick = (options, names) => Object.fromEntries(names.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]));
const failed = (jobId, transcript) => {
  const { code = "unknown", message = "The job failed.", retryable } = transcript.error ?? {};
  return new JobFailedError(message, { code, retryable, jobId, transcript });
};
const restarted = (jobId, { reason }) =>
  new RestartedError(`The job starts over (${reason}): its text so far is void.`, { code: reason, retryable: true, jobId });

/** Returns the error of a response. The status of a redirect is 0 in browsers. */
function apiError(response, text) {
  let problem = {};
  try {
    problem = JSON.parse(text) ?? {};
  } catch {
    // A proxy's page.
  }
  const { status, headers } = response;
  const { detail, title, code = "unknown", field = null } = problem;
  const retryable = problem.retryable ?? (status >= 500 || [408, 425, 429].includes(status));
  const asked = headers.get("Retry-After");
  const seconds = Number.isNaN(Number(asked)) ? (Date.parse(asked) - Date.now()) / 1000 : Number(asked);
  const retryAfter = asked && seconds >= 0 ? seconds : null;
  return new ApiError(detail ?? title ?? `The API answered ${status}.`, { status, code, field, retryable, retryAfter });
}

function parse(text, retryable = false) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw unreadable("The response is not JSON.", error, retryable);
  }
  if (typeof value !== "object" || value === null) throw unreadable("The response is no JSON object.", null, retryable);
  return value;
}

/** Returns the address of the API that this module was loaded from, or of the page's site. */
function defaultUrl() {
  const served = /^(http.*\/)page\/readalong\.js/.exec(import.meta?.url);
  const origin = served?.[1] ?? globalThis.location?.origin;
  if (!origin?.startsWith("http")) throw misuse("Outside of a web page, baseUrl must name the API.");
  return origin;
}

function apiUrl(text) {
  let url = null;
  try {
    url = new URL(text, globalThis.document?.baseURI);
  } catch {
    // Below.
  }
  if (!url?.protocol.startsWith("http")) throw misuse(`${text} is no address of an API.`);
  url.pathname = url.pathname.replace(/\/?$/, "/");
  [url.search, url.hash] = ["", ""];
  return url;
}

function jobPath(jobId) {
  if (typeof jobId !== "string" || /^\.*$/.test(jobId)) throw misuse(`${jobId} is no id of a job.`);
  return `v1/jobs/${encodeURIComponent(jobId)}`;
}

function filterQuery({ metadata = {}, createdAfter, createdBefore, ...query }) {
  const time = (value) => (value instanceof Date ? value.toISOString() : value);
  for (const [key, value] of Object.entries(metadata)) query[`metadata.${key}`] = typeof value === "string" ? value : JSON.stringify(value);
  return { ...query, created_after: time(createdAfter), created_before: time(createdBefore) };
}

/** Pages on plain http have no randomUUID, and Node 18 has no crypto. */
function newKey() {
  return globalThis.crypto?.randomUUID?.() ?? Array.from({ length: 4 }, () => Math.random().toString(36).slice(2)).join("");
}

function unlessAborted(promise, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => reject(reasonOf(signal));
    signal?.addEventListener("abort", abort);
    promise.then(resolve, reject).finally(() => signal?.removeEventListener("abort", abort));
  });
}

// Each method as a function, for a single call.
const single = (name) => (subject, { baseUrl, headers, fetch, ...options } = {}) => new Client({ baseUrl, headers, fetch })[name](subject, options);
export const streamChat = single("streamChat");
export const submit = single("submit");
export const job = single("job");
export const jobs = single("jobs");
export const cancel = single("cancel");
export const erase = single("erase");
export const watch = single("watch");
export const changes = single("changes");
