// What a TypeScript program may write, and what its compiler refuses. Is checked, not run.

import { ApiError, Client, JobFailedError, type JobEvent, streamChat, type Transcript, watch } from "readalong";
import { useJob } from "readalong/react";

export async function ask(signal: AbortSignal): Promise<string> {
  const transcript: Transcript = await streamChat([{ role: "user", content: "Why?" }], {
    baseUrl: ["http://one:8000", new URL("http://two:8000")],
    headers: async () => ({ Authorization: "Bearer x" }),
    model: "m", temperature: 0.5, signal, retryFor: Infinity,
    onContent: (text, { progress }) => console.log(text.length, progress.tokensPerSecond?.toFixed(1)),
    onRestarted: ({ attempt }) => console.log(attempt.toFixed()),
  });
  return transcript.text;
}

/** The type of an event decides on its data. */
export function describe(event: JobEvent): string {
  switch (event.type) {
    case "content": return event.data.content;
    case "tool_call": return event.data.name ?? "";
    case "waiting": return event.data.for === "model" ? event.data.reason : event.data.since;
    case "failed": return event.data.error.code;
    // @ts-expect-error: `done` has no error
    case "done": return event.data.error;
    default: return event.position;
  }
}

export async function follow(client: Client): Promise<number> {
  const stream = client.watch("id", { after: "40-9f3c21", readers: true, onLink: (up, error) => console.log(up, error?.retryable) });
  for await (const event of stream) describe(event);
  for await (const { type, data } of client.changes({ metadata: { user: 7 } })) if (type === "job") console.log(data.created_at);
  const page = await client.jobs({ createdAfter: new Date(), limit: 10 });
  const job = await client.submit({ messages: [], metadata: { a: "b" } }, { idempotencyKey: "k", wait: 5 });
  return page.jobs.length + job.last_seq + stream.transcript.toolCalls.length;
}

export function tell(error: unknown): string {
  if (error instanceof JobFailedError) return error.transcript.text;
  return error instanceof ApiError ? `${error.status} ${error.retryAfter?.toFixed()}` : "";
}

export const { text, toolCalls, cancel } = useJob(null, { client: new Client() });

// @ts-expect-error: a job's id is a string
watch(7);
// @ts-expect-error: messages are needed
streamChat({ onContent() {} });
// @ts-expect-error: there is no such state
new Client().jobs({ status: "finished" });
