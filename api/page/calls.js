// Calls to the API. Addresses are relative, so that the page also works behind a path prefix.

import { backOff } from "./rate.js";

const PATIENCE = 15_000; // milliseconds for one answer
const TRIES = 6;

/** A call that failed; `status` 0: there was no answer. `detail` is for the reader. */
export class Problem extends Error {
  constructor(status, body, retryAfter = null) {
    super(body.detail ?? body.title ?? `The server answered ${status}.`);
    this.status = status;
    this.code = body.code ?? "unknown";
    this.retryAfter = retryAfter;
  }

  get passing() {
    return [0, 502, 503, 504].includes(this.status);
  }

  get gone() {
    return [400, 404, 410, 422].includes(this.status);
  }
}

export const pathOf = (id) => `v1/jobs/${encodeURIComponent(id)}`;

export const inspect = (id) => call(pathOf(id));

export const cancel = (id) => patiently(() => call(`${pathOf(id)}/cancel`, { method: "POST" }));

/** Submits until there is an answer: with the same key it is the same job, however often it is sent. */
export function submit(body, key, onWait) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
  return patiently(() => call("v1/jobs", { method: "POST", headers, body: JSON.stringify(body) }), onWait);
}

/** A key that nobody else has. Plain http on another device is no secure context, and has no randomUUID. */
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Tries again while the server or its Redis is away. */
export async function patiently(attempt, onWait = () => {}) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await attempt();
    } catch (problem) {
      if (!problem.passing || tries + 1 === TRIES) throw problem;
      onWait(problem);
      await pause(Math.max(backOff(tries), Math.min(problem.retryAfter ?? 0, 5) * 1000));
    }
  }
}

async function call(path, options = {}) {
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), PATIENCE);
  let reply, body;
  try {
    reply = await fetch(path, { ...options, signal: giveUp.signal, cache: "no-store" });
    body = await reply.text();
  } catch {
    throw new Problem(0, { code: "unreachable", detail: "The server cannot be reached." });
  } finally {
    clearTimeout(timer);
  }
  const parsed = parse(body);
  if (reply.ok && parsed) return parsed;
  // Not a float for a date; then the back-off alone decides.
  const wait = Number.parseFloat(reply.headers.get("Retry-After"));
  throw new Problem(reply.ok ? 502 : reply.status, parsed ?? {}, Number.isFinite(wait) ? wait : null);
}

/** A proxy's error page is no JSON. */
function parse(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}
