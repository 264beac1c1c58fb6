// A chat of the AI SDK without a page: what `useChat` is but for React. Reads commands from stdin, a line of JSON each,
// and answers each with a line: {status, error, messages, data, requests}.
//
// node chat.mjs VERSION TRANSPORT OPTIONS: VERSION is 6 or 7, TRANSPORT is default or workflow, OPTIONS is JSON:
// {api, id, messages?, body?, headers?, cuts?: bytes after which each response in turn breaks off, or, negative, ends,
// startIndex?, tools?: the output of each tool call, last?: send the newest message alone}.
import { createInterface } from "node:readline";

const [version, kind, json] = process.argv.slice(2);
const options = JSON.parse(json);
const sdk = await import(version === "6" ? "ai6" : "ai");
const requests = [];
const data = [];
const cuts = [...(options.cuts ?? [])];

// The SDK reports broken connections there; stdout is for the answers.
console.log = console.warn = console.error;

async function cutting(url, init) {
  const response = await fetch(url, init);
  requests.push(`${init?.method ?? "GET"} ${new URL(url).pathname}${new URL(url).search} ${response.status}`);
  if (!response.body || !cuts.length) return response;
  const bytes = cuts.shift();
  let left = Math.abs(bytes);
  const cut = new TransformStream({
    transform(piece, controller) {
      if (piece.length > left) {
        controller.enqueue(piece.subarray(0, left));
        if (bytes < 0) controller.terminate();
        else controller.error(new TypeError("network error"));
      } else {
        left -= piece.length;
        controller.enqueue(piece);
      }
    },
  });
  return new Response(response.body.pipeThrough(cut), response);
}

class State {
  status = "ready";
  error = undefined;
  constructor(messages = []) {
    this.messages = messages;
  }
  pushMessage = (message) => (this.messages = [...this.messages, message]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (index, message) => (this.messages = this.messages.with(index, message));
  snapshot = (thing) => structuredClone(thing);
}

class Chat extends sdk.AbstractChat {
  constructor(init) {
    super({ ...init, state: new State(init.messages) });
  }
}

async function transport() {
  const { api, headers } = options;
  const last = ({ id, messages, body }) => ({ body: { id, message: messages.at(-1), ...body } });
  const prepareSendMessagesRequest = options.last ? last : undefined;
  if (kind === "default") {
    return new sdk.DefaultChatTransport({ api, headers, fetch: cutting, prepareSendMessagesRequest });
  }
  const { WorkflowChatTransport } = await import("@ai-sdk/workflow/client");
  return new WorkflowChatTransport({
    api,
    fetch: cutting,
    initialStartIndex: options.startIndex,
    prepareSendMessagesRequest: ({ id, messages, body }) => ({ body: { id, messages, ...body } }),
  });
}

const chat = new Chat({
  id: options.id,
  messages: options.messages,
  transport: await transport(),
  onData: (part) => data.push(part),
  sendAutomaticallyWhen: options.tools ? sdk.lastAssistantMessageIsCompleteWithToolCalls : undefined,
  onToolCall: options.tools
    ? ({ toolCall }) => {
        chat.addToolOutput({ tool: toolCall.toolName, toolCallId: toolCall.toolCallId, output: options.tools });
      }
    : undefined,
});

let running = Promise.resolve();
const { body } = options;
const commands = {
  send: ({ text, files }) => void (running = chat.sendMessage({ text, files }, { body })),
  regenerate: () => void (running = chat.regenerate({ body })),
  resume: () => void (running = chat.resumeStream()),
  stop: () => chat.stop(),
  wait: () => running,
  show: () => {},
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  await commands[command.do](command);
  const { status, error, messages } = chat;
  process.stdout.write(`${JSON.stringify({ status, error: error?.message ?? null, messages, data, requests })}\n`);
}
