// What the JavaScript client does besides the scenarios of clients/conformance.md. `node --test`.

import assert from "node:assert/strict";
import { getEventListeners, once } from "node:events";
import { createServer } from "node:http";
import { afterEach, test as nodeTest } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import * as readalong from "../../../clients/js/readalong.js";

const { Client, EventStreamDecoder, Transcript, UsageError } = readalong;
const servers = [];
const test = (claim, check) => nodeTest(claim, { timeout: 60_000 }, check);

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

/** Serves `respond(request, response)`. Returns the address, and the requests as "METHOD /path". */
async function serve(respond) {
  const requests = [];
  const server = createServer(async (request, response) => {
    requests.push(`${request.method} ${request.url}`);
    let body = "";
    for await (const piece of request) body += piece;
    respond(request, response, body && JSON.parse(body));
  });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { baseUrl: `http://127.0.0.1:${server.address().port}`, requests, server };
}

const frame = (id, type, data) => `${id ? `id: ${id}\n` : ""}event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
const STARTED = frame("1", "queued", {}) + frame("2-e", "started", { attempt: 1 });
const HALF = STARTED + frame("3-e", "content", { content: "Hello" });
const WHOLE = HALF + frame("4-e", "done", { content: "Hello" });
const json = (response, value, status = 200) => response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(value));
const sse = (response, text) => response.writeHead(200, { "Content-Type": "text/event-stream" }).write(text);
const tick = (ready) => new Promise((resolve) => {
  const look = () => (ready() ? resolve() : setTimeout(look, 5));
  look();
});

/** An API whose streams stay open behind this text. */
const api = (text, more = () => false) => serve((request, response, body) => {
  if (more(request, response, body)) return;
  if (request.url.endsWith("/events")) return sse(response, text);
  json(response, { id: "job", status: "running", content: null }, request.method === "POST" ? 202 : 200);
});
const drain = async (stream) => {
  for await (const _ of stream);
};

// Server-sent events

test("a stream means the same however it is split", () => {
  const text = "\uFEFFid: 1\r\nevent: a\rdata: é👩‍👩‍👧\ndata:\u2028x\r\n\r\n: no\n\nid: 2\n\nretry: 70\ndata\n\nid: 3\0\ndata:  y\n\ndata: cut";
  const bytes = new TextEncoder().encode(text);
  const read = (cuts) => {
    const decoder = new EventStreamDecoder();
    const messages = [];
    [...cuts, bytes.length].reduce((from, to) => (messages.push(...decoder.feed(bytes.subarray(from, to))), to), 0);
    return [messages, decoder.retry];
  };
  const whole = read([]);
  assert.deepEqual(whole, [[
    { type: "a", data: "é👩‍👩‍👧\n\u2028x", id: "1" },
    { type: "message", data: null, id: "2" },
    { type: "message", data: "", id: null },
    { type: "message", data: " y", id: null },
  ], 70]);
  for (let one = 0; one <= bytes.length; one += 1) {
    for (let two = one; two <= bytes.length; two += 1) assert.deepEqual(read([one, two]), whole);
  }
});

test("an event beyond the limit is an error, in one line or in many", () => {
  const feed = (text) => () => new EventStreamDecoder(100).feed(new TextEncoder().encode(text));
  assert.throws(feed("data: " + "x".repeat(100)), { name: "ProtocolError" });
  assert.throws(feed("data: xxxxxxxxx\n".repeat(10)), { name: "ProtocolError" });
  assert.equal(feed("data: xxxxxxxxx\n\n".repeat(100))().length, 100);
});

// Aborting

test("a signal that was aborted before sends nothing", async () => {
  const { baseUrl, requests } = await api(WHOLE);
  const signal = AbortSignal.abort(new Error("enough"));
  const client = new Client({ baseUrl });
  await assert.rejects(client.streamChat([], { signal }), /enough/);
  await assert.rejects(client.job("job", { signal }), /enough/);
  await assert.rejects(drain(client.watch("job", { signal })), /enough/);
  assert.deepEqual(requests, []);
});

const WAITS = {
  "an event": (response) => sse(response, HALF),
  "a response": () => {},
  "its next try": (response) => json(response, {}, 503),
};
for (const [what, respond] of Object.entries(WAITS)) {
  test(`an abort ends a watch that waits for ${what}`, async () => {
    const aborting = new AbortController();
    const { baseUrl, requests } = await serve((_, response) => respond(response));
    let lost = false;
    const onLink = (up) => (lost = !up);
    const stream = new Client({ baseUrl, longestWait: 1e9 }).watch("job", { signal: aborting.signal, onLink });
    const ended = assert.rejects(drain(stream), /enough/);
    await tick(() => (what === "an event" ? stream.transcript.text : what === "a response" ? requests.length : lost));
    aborting.abort(new Error("enough"));
    await ended;
    await assert.rejects(stream.next(), /enough/);
  });
}

test("the server sees at once that a watch was left", async () => {
  for (const leave of [(stream) => stream.return(), (_, aborting) => aborting.abort()]) {
    const aborting = new AbortController();
    let closed = false;
    const { baseUrl } = await serve((_, response) => {
      response.on("close", () => (closed = true));
      sse(response, HALF);
    });
    const stream = new Client({ baseUrl }).watch("job", { signal: aborting.signal });
    for (let count = 0; count < 3; count += 1) await stream.next();
    leave(stream, aborting);
    await tick(() => closed);
  }
});

test("a watch is left for good after the garbage collector has run", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  let open = 0;
  const { baseUrl } = await serve((_, response) => {
    open += 1;
    response.on("close", () => (open -= 1));
    sse(response, HALF);
  });
  const client = new Client({ baseUrl });
  for (const leave of [(stream) => stream.return(), (_, aborting) => aborting.abort()]) {
    const aborting = new AbortController();
    const stream = client.watch("job", { signal: aborting.signal });
    for (let count = 0; count < 3; count += 1) await stream.next();
    const waiting = stream.next().catch(() => {});
    for (let count = 0; count < 5; count += 1) {
      collect();
      await new Promise(setImmediate);
    }
    await leave(stream, aborting);
    await waiting;
    await tick(() => open === 0);
  }
});

test("a signal that outlives many calls keeps none of them", async () => {
  const { baseUrl } = await api(WHOLE);
  const { signal } = new AbortController();
  const client = new Client({ baseUrl });
  for (let count = 0; count < 100; count += 1) {
    await client.job("job", { signal });
    await drain(client.watch("job", { signal }));
    await client.streamChat([], { signal });
    await client.watch("job", { signal }).return();
    for await (const _ of client.watch("job", { signal })) break;
  }
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

test("an abort after the end changes nothing", async () => {
  const aborting = new AbortController();
  const { baseUrl, requests } = await api(WHOLE);
  const client = new Client({ baseUrl });
  const transcript = await client.streamChat([], { signal: aborting.signal });
  const stream = client.watch("job", { signal: aborting.signal });
  await drain(stream);
  aborting.abort();
  assert.equal(transcript.text, "Hello");
  assert.deepEqual(await stream.next(), { done: true, value: undefined });
  assert.equal(requests.filter((each) => each.endsWith("cancel")).length, 0);
});

// Generations

test("an abort while the submit is under way cancels the job that it has made", async () => {
  const aborting = new AbortController();
  const cancelled = new Promise((resolve) => {
    aborting.api = api(HALF, (request, response) => {
      if (request.url.endsWith("/cancel")) resolve();
      if (!request.url.endsWith("/jobs")) return false;
      aborting.abort(new Error("enough"));
      setImmediate(() => json(response, { id: "job" }, 202));
      return true;
    });
  });
  const { baseUrl } = await aborting.api;
  await assert.rejects(new Client({ baseUrl }).streamChat([], { signal: aborting.signal }), /enough/);
  await cancelled;
});

test("an error in a handler cancels the job and comes out", async () => {
  let cancelled;
  const asked = new Promise((resolve) => (cancelled = resolve));
  const { baseUrl } = await api(HALF, (request) => (request.url.endsWith("/cancel") && cancelled(), false));
  const onContent = () => {
    throw new Error("mine");
  };
  await assert.rejects(new Client({ baseUrl }).streamChat([], { onContent }), /mine/);
  await asked;
});

test("a stream that ends without its end is read from the job", async () => {
  const { baseUrl } = await serve((request, response) => {
    if (request.url.endsWith("/events")) return response.writeHead(204).end();
    json(response, { id: "job", status: "done", last_seq: 7, content: "Hello", metrics: { chunk_count: 3 } });
  });
  const transcript = await new Client({ baseUrl }).streamChat([]);
  assert.deepEqual([transcript.text, transcript.status, transcript.position, transcript.progress.count], ["Hello", "done", "7", 3]);
});

test("parameters go to the model, and a misspelt handler is told", async () => {
  let sent;
  const { baseUrl } = await api(WHOLE, (request, _, body) => (body && (sent = body), false));
  const headers = async () => ({ Authorization: "Bearer x" });
  const messages = [{ role: "user", content: "Hi" }];
  await readalong.streamChat(messages, { baseUrl, headers, model: "m", temperature: 0, retryFor: 1000 });
  assert.deepEqual(sent, { cancel_on_disconnect: 30, model: "m", temperature: 0, messages });
  await assert.rejects(readalong.streamChat(messages, { baseUrl, onConent() {} }), UsageError);
});

// Streams

test("two streams of a job are two, and one stream is read once", async () => {
  const { baseUrl } = await api(WHOLE);
  const client = new Client({ baseUrl });
  const count = async (stream) => {
    let events = 0;
    for await (const _ of stream) events += 1;
    return events;
  };
  const [one, two] = [client.watch("job"), client.watch("job")];
  assert.deepEqual(await Promise.all([count(one), count(two)]), [4, 4]);
  await assert.rejects(count(one), UsageError);
});

test("calls of next at the same time get an event each, in order; a close ends them", async () => {
  const { baseUrl } = await api(HALF);
  const stream = new Client({ baseUrl }).watch("job");
  const results = await Promise.all([stream.next(), stream.next(), stream.next()]);
  assert.deepEqual(results.map(({ value }) => value.seq), [1, 2, 3]);
  const waiting = stream.next();
  await stream.return();
  assert.deepEqual(await waiting, { done: true, value: undefined });
});

test("a watch goes on where a transcript is, and reconnects when it is told to", async () => {
  const seen = [];
  const { baseUrl, server } = await api(HALF);
  server.on("request", ({ headers }) => seen.push(headers["last-event-id"]));
  const client = new Client({ baseUrl });
  const first = client.watch("job", { longestWait: 1 });
  for (let count = 0; count < 3; count += 1) await first.next();
  const waiting = first.next();
  first.reconnect();
  await tick(() => seen.length === 2);
  await first.return();
  await waiting;
  const second = client.watch("job", { transcript: first.transcript });
  second.next();
  await tick(() => seen.length === 3);
  await second.return();
  assert.deepEqual(seen, [undefined, "3-e", "3-e"]);
});

test("changes tell each connection, and go on", async () => {
  const { baseUrl, requests } = await serve((_, response) => {
    sse(response, frame("", "job", { id: "a" }));
    response.end();
  });
  const seen = [];
  for await (const change of new Client({ baseUrl, longestWait: 1 }).changes({ metadata: { user: 7 }, status: "running" })) {
    seen.push([change.type, change.data.again ?? change.data.id]);
    if (seen.length === 4) break;
  }
  assert.deepEqual(seen, [["connected", false], ["job", "a"], ["connected", true], ["job", "a"]]);
  assert.equal(requests[0], "GET /v1/changes?status=running&metadata.user=7");
});

test("a list is asked for by its filters", async () => {
  const { baseUrl, requests } = await serve((_, response) => json(response, { jobs: [], next: null }));
  const createdAfter = new Date(0);
  await readalong.jobs({ status: "done", limit: 5, metadata: { a: "b c" }, createdAfter }, { baseUrl: `${baseUrl}/ai/` });
  assert.deepEqual(requests, ["GET /ai/v1/jobs?status=done&limit=5&metadata.a=b+c&created_after=1970-01-01T00%3A00%3A00.000Z"]);
});

// Mistakes

test("mistakes are told at once, and nothing is sent", async () => {
  const baseUrl = "http://127.0.0.1:9";
  assert.throws(() => new Client(), /baseUrl/);
  for (const wrong of ["localhost:8000", "", [], "ftp://x"]) assert.throws(() => new Client({ baseUrl: wrong }), UsageError);
  for (const id of ["", "..", undefined, 7]) assert.throws(() => new Client({ baseUrl }).watch(id), UsageError);
  const fetch = globalThis.fetch;
  try {
    delete globalThis.fetch;
    assert.throws(() => new Client({ baseUrl }), /no fetch; Node has it since version 18/);
  } finally {
    globalThis.fetch = fetch;
  }
});

test("an address without a server is an error at once; a page that never gives up goes on", async () => {
  const { baseUrl, server } = await serve((_, response) => json(response, { id: "job" }));
  await new Promise((resolve) => server.close(resolve));
  const refused = { name: "ConnectionError", code: "refused", retryable: true };
  await assert.rejects(drain(new Client({ baseUrl }).watch("job")), refused);
  await assert.rejects(new Client({ baseUrl: [baseUrl, baseUrl] }).job("job"), refused);
  const lost = [];
  const patient = new Client({ baseUrl, retryFor: Infinity, longestWait: 1 });
  const stream = patient.watch("job", { onLink: (up, error) => lost.push(error.code) });
  const waiting = stream.next();
  await tick(() => lost.length > 20);
  await stream.return();
  await waiting;
});

// Transcripts

test("calls build up, other choices too, and the end has all", () => {
  const transcript = new Transcript(performance.now());
  const apply = (seq, type, data) => transcript.apply({ type, position: `${seq}-e`, seq, data });
  apply(1, "started", { attempt: 1 });
  apply(2, "reasoning", { content: "Hm" });
  apply(3, "tool_call_delta", { index: 1, id: "c", name: "look", arguments: '{"a"' });
  assert.deepEqual(transcript.toolCalls, [{ kind: "tool", choice: 0, index: 1, text: '{"a"', complete: false, name: "look", id: "c" }]);
  apply(9, "content", { content: "Other", choice: 1 });
  assert.equal(apply(9, "content", { content: "again" }), false);
  assert.deepEqual([transcript.text, transcript.reasoning, transcript.progress.count], ["", "Hm", 8]);
  assert.ok(transcript.progress.timeToFirstToken >= 0);
  apply(10, "done", { content: "All", tool_calls: [{ index: 1, id: "c", name: "look", arguments: { a: 1 } }], choices: [{ index: 1, content: "Others" }] });
  assert.deepEqual(transcript.parts.map(({ kind, choice, text }) => [kind, choice, text]), [
    ["reasoning", 0, "Hm"], ["tool", 0, '{"a"'], ["content", 1, "Others"], ["content", 0, "All"],
  ]);
  assert.deepEqual([transcript.toolCalls[0].arguments, transcript.ended], [{ a: 1 }, true]);
});
