// Uses the types that openapi-typescript has made as `./api`: an address, two models and a question are the arguments.
// Prints what came, as JSON. tsc checks it with --strict.

import createClient from "openapi-fetch";
import type { components, paths } from "./api";

declare const process: { argv: string[] };
type JobEvent = components["schemas"]["JobEvent"];

const [url, model, slowModel, question] = process.argv.slice(2) as [string, string, string, string];
const client = createClient<paths>({ baseUrl: url });

/** Yields the events of a stream, each of its own type. */
async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<JobEvent> {
  let text = "";
  const decoder = new TextDecoder();
  const reader = body.getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    text += decoder.decode(piece.value, { stream: true });
    const frames = text.split("\n\n");
    text = frames.pop() ?? "";
    for (const frame of frames) {
      const line = frame.split("\n").find((each) => each.startsWith("data: "));
      if (line) yield JSON.parse(line.slice(6)) as JobEvent;
    }
  }
}

async function submit(name: string): Promise<components["schemas"]["Job"]> {
  const messages = [{ role: "user", content: question }];
  const { data, error } = await client.POST("/v1/jobs", { body: { messages, model: name, metadata: { user: "ada" } } });
  if (!data) throw new Error(JSON.stringify(error));
  return data;
}

async function watch(job: components["schemas"]["Job"]): Promise<AsyncGenerator<JobEvent>> {
  const params = { path: { job_id: job.id }, query: { after: "0" } };
  const { data } = await client.GET("/v1/jobs/{job_id}/events", { params, parseAs: "stream" });
  return eventsOf(data as ReadableStream<Uint8Array>);
}

let text = "", end = "", worker = "";
for await (const event of await watch(await submit(model))) {
  switch (event.type) {
    case "started":
      worker = event.worker.host;
      break;
    case "content":
      text += event.content;
      break;
    case "restarted":
      text = "";
      break;
    case "done":
      end = event.content;
      break;
    case "failed":
      throw new Error(event.error.message);
  }
}

const slow = await submit(slowModel);
let by = "";
for await (const event of await watch(slow)) {
  if (event.type === "content" && by === "") {
    by = "asked";
    await client.POST("/v1/jobs/{job_id}/cancel", { params: { path: { job_id: slow.id } } });
  }
  if (event.type === "cancelled") by = event.by;
  // @ts-expect-error: only a failed job has an error
  if (event.type === "cancelled") event.error;
}
const { data: ended } = await client.GET("/v1/jobs/{job_id}", { params: { path: { job_id: slow.id } } });

const { error: refused } = await client.POST("/v1/jobs", { body: { messages: [] } });
const { error: missing } = await client.GET("/v1/jobs/{job_id}", { params: { path: { job_id: "x".repeat(22) } } });
// @ts-expect-error: the messages are a list
const wrong: components["schemas"]["ChatRequest"] = { messages: "hi" };
const known: components["schemas"]["ProblemCode"] = "invalid_request";
if (typeof refused !== "object" || typeof missing !== "object" || refused.code !== known) throw new Error("no problem");

const status: "queued" | "running" | "done" | "failed" | "cancelled" | undefined = ended?.status;
const codes = [refused.code, missing.code];
console.log(JSON.stringify({ text, end, worker, by, status, metadata: ended?.metadata, field: refused.field, codes }));
