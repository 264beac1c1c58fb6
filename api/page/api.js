// Calls to the API. Paths are relative, so that the page also works behind a path prefix.

const TIMEOUT = 15_000; // milliseconds for one response
const MAX_TRIES = 6;

/** A failed call. `status` 0: there was no response. The message is for people. */
export class Problem extends Error {
  constructor(status, body, retryAfter = null) {
    super(body.detail ?? body.title ?? `The server answered ${status}.`);
    this.status = status;
    this.code = body.code ?? "unknown";
    this.retryAfter = retryAfter;
  }

  get isTransient() {
    return [0, 502, 503, 504].includes(this.status);
  }

  get isGone() {
    return [400, 404, 410, 422].includes(this.status);
  }
}

export const pathOf = (id) => `v1/jobs/${encodeURIComponent(id)}`;

export const inspect = (id) => call(pathOf(id));

export const cancel = (id) => withRetry(() => call(`${pathOf(id)}/cancel`, { method: "POST" }));

/** Submits until there is a response. Repeats with the same key return the same job. */
export function submit(body, key, onWait) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
  return withRetry(() => call("v1/jobs", { method: "POST", headers, body: JSON.stringify(body) }), onWait);
}

/** Returns a unique key. Pages on plain http have no randomUUID, since they are no secure context. */
export function newIdempotencyKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Retries while the server or its Redis is away. */
export async function withRetry(attempt, onWait = () => {}) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await attempt();
    } catch (problem) {
      if (!problem.isTransient || tries + 1 === MAX_TRIES) throw problem;
      onWait(problem);
      await sleep(Math.max(backoffDelay(tries), Math.min(problem.retryAfter ?? 0, 5) * 1000));
    }
  }
}

/** Milliseconds before try number `tries` (0, 1, …): half a second, doubling up to eight, with jitter. */
export function backoffDelay(tries, random = Math.random()) {
  return Math.min(8000, 500 * 2 ** tries) * (0.75 + random / 2);
}

async function call(path, options = {}) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), TIMEOUT);
  let response, body;
  try {
    response = await fetch(path, { ...options, signal: controller.signal, cache: "no-store" });
    body = await response.text();
  } catch {
    throw new Problem(0, { code: "unreachable", detail: "The server cannot be reached." });
  } finally {
    clearTimeout(timer);
  }
  const parsed = parse(body);
  if (response.ok && parsed) return parsed;
  // Retry-After may be a date, which is no number; then the backoff alone decides.
  const wait = Number.parseFloat(response.headers.get("Retry-After"));
  throw new Problem(response.ok ? 502 : response.status, parsed ?? {}, Number.isFinite(wait) ? wait : null);
}

/** Returns null for a body that is no JSON, such as a proxy's error page. */
function parse(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}
