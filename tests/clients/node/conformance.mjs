// Plays the scenarios of clients/conformance.md with the JavaScript client. Runs in Node and in a page.

const KINDS = {
  api: "ApiError", connection: "ConnectionError", protocol: "ProtocolError", generation: "JobFailedError",
  restarted: "RestartedError", misuse: "UsageError",
};

const AT_ONCE = 6; // connections that a browser opens to one server
const TRIES = 5;

/** Returns what was other than expected, a list for each scenario by its number. */
export async function playAll(server, library, isPage = false) {
  const left = await (await fetch(`${server}/manifest`)).json();
  const found = {};
  const worker = async () => {
    for (let scenario = left.shift(); scenario; scenario = left.shift()) {
      // When a connection breaks, fetch throws away what it has received and not handed out: on a busy machine a
      // client may not have seen an event that a scenario has sent just before. A wrong client is wrong each time.
      for (let tries = 0; tries < TRIES; tries += 1) {
        found[scenario.number] = await play(server, library, scenario, isPage);
        if (!found[scenario.number].length) break;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return found;
}

async function play(server, library, scenario, isPage) {
  const run = `js${Math.random().toString(36).slice(2)}`;
  const base = `${server}/${scenario.number}/${run}`;
  const milliseconds = (name) => scenario.options[name] && scenario.options[name] * 1000;
  const client = new library.Client({
    baseUrl: Array.from({ length: scenario.replicas }, (_, replica) => `${base}/${replica}`),
    retryFor: milliseconds("give_up"), silence: milliseconds("silence"), longestWait: milliseconds("longest_wait"),
  });
  const seen = { events: [], text: "", end: null, error: null, result: undefined, progress: undefined };
  try {
    seen.result = await DO[scenario.do](client, scenario, seen, library);
  } catch (error) {
    if (error?.message !== "left") seen.error = error;
  }
  const { expect } = scenario;
  const wanted = { count: (expect.requests?.length ?? 0) + (expect.cancelled ? 1 : 0), left: expect.left ?? 0 };
  const record = await (await fetch(`${server}/record/${scenario.number}/${run}?${new URLSearchParams(wanted)}`)).json();
  return compare(expect, seen, record, isPage);
}

const DO = {
  async watch(client, { job, after, leave_after: leaveAfter }, seen) {
    const stream = client.watch(job, { after: after ?? undefined });
    try {
      for await (const event of stream) {
        note(seen, event);
        if (seen.events.length === leaveAfter) break;
      }
    } finally {
      seen.text = stream.transcript.text;
    }
  },
  async stream(client, scenario, seen) {
    const leaving = new AbortController();
    const handlers = {
      onEvent(event, transcript) {
        note(seen, event);
        seen.text = transcript.text;
        if (seen.events.length === scenario.cancel_after) client.cancel(scenario.job);
        if (seen.events.length === scenario.leave_after) leaving.abort(new Error("left"));
      },
      onContent() {},
      ...(scenario.on_restart && { onRestarted() {} }),
    };
    const options = { ...scenario.parameters, ...handlers, signal: leaving.signal, keepRunning: scenario.keep_running };
    try {
      const { progress } = await client.streamChat(scenario.messages, options);
      seen.progress = progress;
    } catch (error) {
      // A promise of an answer is broken by a failed job; who reads events has had `failed`.
      if (error?.name !== "JobFailedError" || scenario.read === "text") throw error;
    }
  },
  submit: (client, { messages, parameters }) => client.submit({ messages, ...parameters }),
  job: (client, { job }) => client.job(job),
  cancel: (client, { job }) => client.cancel(job),
  erase: (client, { job }) => client.erase(job),
  async jobs(client) {
    const all = [];
    let page = await client.jobs();
    for (; page.next; page = await client.jobs({ next: page.next })) all.push(...page.jobs);
    return [...all, ...page.jobs];
  },
  /** A client holds nothing that could be closed; its streams do. */
  async closed(client, { job }) {
    const stream = client.watch(job);
    await stream.return();
    for await (const event of stream) throw new Error(`read ${event.type}`);
  },
};

function note(seen, event) {
  seen.events.push([event.position || null, event.type, event.data]);
  if (["done", "failed", "cancelled"].includes(event.type)) seen.end = event.type;
}

function compare(expect, seen, record, isPage) {
  const wrong = [];
  const check = (what, is, shouldBe) => includes(is, shouldBe) || wrong.push({ what, is, shouldBe });
  for (const what of ["text", "end"]) if (what in expect) check(what, seen[what], expect[what]);
  if (expect.events) check("events", seen.events, expect.events);
  if (expect.result) check("result", seen.result, expect.result);
  if (expect.progress) check("progress", snake(seen.progress), expect.progress);
  if ("error" in expect) check("error", seen.error && errorOf(seen.error), shown(expect.error, isPage));
  const requests = record.requests.map(requestOf);
  if (expect.requests) check("requests", requests, expect.requests);
  if (expect.cancelled) check("cancelled", requests.some(([, , path]) => path === "cancel"), true);
  if (expect.left) check("left", record.left, expect.left);
  const keys = record.requests.filter(({ path }) => path === "/v1/jobs").map(({ headers }) => headers["idempotency-key"]);
  if (expect.same_key) check("keys", Boolean(keys[0]) && new Set(keys).size === 1, true);
  for (const [index, seconds] of expect.gaps ?? []) {
    const gap = record.requests[index].at - record.requests[index - 1].at;
    check(`a gap of at least ${seconds} s`, gap >= seconds ? "kept" : gap, "kept");
  }
  return wrong;
}

/** A page is not told where a redirect goes, nor with which status. */
const shown = (error, isPage) => (isPage && error?.status === 307 ? { ...error, status: 0 } : error);

const errorOf = (error) => {
  const kind = Object.keys(KINDS).find((name) => KINDS[name] === error.name) ?? String(error.stack);
  return { kind, code: error.code, status: error.status, retryable: error.retryable, field: error.field };
};

const snake = (progress) => progress && {
  time_to_first_token: progress.timeToFirstToken, total_seconds: progress.totalSeconds,
  count: progress.count, tokens_per_second: progress.tokensPerSecond,
};

function requestOf({ method, path, query, replica, headers, body }) {
  const place = path.replace(/^\/v1\/(jobs\/[^/]+\/?)?/, "");
  const search = new URLSearchParams(query).toString();
  return [replica, method, place + (search && `?${search}`), { "last-event-id": null, ...headers, body }];
}

/** Whether `is` has all that `shouldBe` has: lists are whole, objects may have more. */
function includes(is, shouldBe) {
  if (Array.isArray(shouldBe)) return Array.isArray(is) && is.length === shouldBe.length && shouldBe.every((each, index) => includes(is[index], each));
  if (typeof shouldBe === "object" && shouldBe !== null) {
    return typeof is === "object" && is !== null && Object.entries(shouldBe).every(([key, value]) => includes(is[key], value));
  }
  return is === shouldBe;
}

if (globalThis.process?.argv?.[1]?.endsWith("conformance.mjs")) {
  const library = await import("../../../clients/js/readalong.js");
  console.log(JSON.stringify(await playAll(process.argv[2], library)));
}
