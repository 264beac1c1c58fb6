// Watches one job with the JavaScript client in a run of chaos. Writes each connection and each event, one JSON array a line.

import { isDeepStrictEqual } from "node:util";
import { Client, EventStreamDecoder, TERMINAL } from "../../../clients/js/readalong.js";

const { urls, job, after, leaves, drops } = JSON.parse(process.argv[2]);
const write = (...line) => console.log(JSON.stringify(line));
/** The data of the events, as they came over the network. */
const sent = new Map();
let isOpen = false;

/** Writes a request and the status of its response, and reads along in its body. */
async function recorded(url, init) {
  const replica = urls.findIndex((each) => url.startsWith(`${each}/`));
  const position = init.headers.get("Last-Event-ID") ?? "";
  isOpen = true;
  let response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    write("open", replica, position, null);
    throw error;
  }
  write("open", replica, position, response.status);
  if (response.status !== 200) return response;
  const decoder = new EventStreamDecoder();
  const transform = (bytes, controller) => {
    for (const { id, data } of decoder.feed(bytes)) if (id) sent.set(id, data);
    controller.enqueue(bytes);
  };
  return new Response(response.body.pipeThrough(new TransformStream({ transform })), response);
}

function close(how) {
  if (isOpen) write("close", how);
  isOpen = false;
}

const onLink = (up, error) => up || close(error.code === "cut" ? "eof" : error.name === "ApiError" ? "refused" : "reset");
const client = new Client({ baseUrl: urls, fetch: recorded, retryFor: Infinity, longestWait: 1500 });
const stream = client.watch(job, { after: after || undefined, onLink });
let how = "204";
try {
  let [seen, here] = [0, 0];
  for await (const { type, position, data } of stream) {
    if (!position) continue; // a notice, which the log does not have
    const raw = sent.get(position);
    sent.delete(position);
    if (!isDeepStrictEqual(JSON.parse(raw), data)) write("trouble", `event ${position} is ${JSON.stringify(data)}`);
    write("event", position, type, raw);
    [seen, here] = [seen + 1, here + 1];
    if (TERMINAL.has(type)) how = "terminal";
    else if (seen === leaves) how = "left";
    if (how === "left") break;
    if (here === drops[0]) {
      [here] = [0, drops.shift()];
      stream.reconnect();
    }
  }
} catch (error) {
  how = [404, 410].includes(error.status) ? "gone" : "gave_up";
  if (how === "gave_up") write("trouble", String(error.stack));
}
close({ gone: "refused", left: "left" }[how] ?? "end");
write("end", how);
await new Promise((done) => process.stdout.write("", done)); // an exit drops what is not written yet
process.exit(0); // without waiting for what undici keeps open
