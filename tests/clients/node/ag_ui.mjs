// Runs of AG-UI's HttpAgent, one after the other. Reads commands from stdin, a line of JSON each, and answers each with
// a line: {error, finished, messages, events}. The client verifies each event by itself.
//
// node ag_ui.mjs OPTIONS: OPTIONS is JSON: {url, threadId, tools?, forwardedProps?}.
import { HttpAgent } from "@ag-ui/client";
import { createInterface } from "node:readline";

const { url, threadId, tools, forwardedProps } = JSON.parse(process.argv[2]);
const agent = new HttpAgent({ url, threadId });
const events = [];
let error = null;
let finished = null;

console.log = console.warn = console.error;

const subscriber = {
  onEvent: ({ event }) => void events.push(event),
  onRunFinishedEvent: (params) => void (finished = { ...params.event, pending: params.pendingToolCallIds }),
  onRunFailed: (params) => void (error = { message: params.error.message, payload: params.error.payload ?? null }),
};

let running = Promise.resolve();
const start = () => {
  error = finished = null;
  running = agent.runAgent({ tools, forwardedProps }, subscriber).catch(() => {});
};
const commands = {
  run: ({ messages }) => {
    agent.addMessages(messages);
    start();
  },
  abort: () => agent.abortRun(),
  wait: () => running,
  show: () => {},
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  await commands[command.do](command);
  process.stdout.write(`${JSON.stringify({ error, finished, messages: agent.messages, events })}\n`);
}
