// openai-node as it is installed. Reads commands from stdin, a line of JSON each, runs them at the same time, and answers
// each with a line: {id, value} or {id, error, items}.
//
// A command: {id, do, url, path, args, weather?, options?, stop?}. `path` names a method of the client, as
// "chat.completions.create". `do`: call (what it resolves to), list (all items of what it resolves to: chunks, events,
// pages; with `stop` so many, then it leaves), helper (what a stream's helper ends with, and its events' names).
// accumulate (what the helper of chat completions makes of the chunks in `args`, and its ends of calls).
// `weather`: the structure that is asked for, a schema of zod: "format" or "tool".
import { createInterface } from "node:readline";
import OpenAI from "openai";
import { ChatCompletionStream } from "openai/lib/ChatCompletionStream";
import { zodFunction, zodResponseFormat, zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const Weather = z.object({ city: z.string(), unit: z.enum(["celsius", "fahrenheit"]), days: z.int() });
const shapes = {
  chat: {
    format: () => ({ response_format: zodResponseFormat(Weather, "Weather") }),
    tool: () => ({ tools: [zodFunction({ name: "Weather", parameters: Weather })] }),
  },
  responses: {
    format: () => ({ text: { format: zodTextFormat(Weather, "Weather") } }),
    tool: () => ({ tools: [zodResponsesFunction({ name: "Weather", parameters: Weather })] }),
  },
};

function bound({ url, path, args, weather, options }) {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "sk-of-no-use", timeout: 60_000, ...options });
  const names = path.split(".");
  const method = names.pop();
  const resource = names.reduce((part, name) => part[name], client);
  const [first, ...rest] = args;
  return () => resource[method](...(weather ? [{ ...first, ...shapes[names[0]][weather]() }, ...rest] : args));
}

const commands = {
  async call(run) {
    return await run();
  },
  async list(run, { stop }, items) {
    for await (const item of await run()) {
      items.push(item);
      if (items.length === stop) break;
    }
    return items;
  },
  async accumulate(_, { args }) {
    const lines = new Blob(args.map((chunk) => `${JSON.stringify(chunk)}\n`));
    const stream = ChatCompletionStream.fromReadableStream(lines.stream());
    const ended = [];
    stream.on("tool_calls.function.arguments.done", (event) => ended.push([event.index, event.arguments]));
    return { ended, final: await stream.finalChatCompletion() };
  },
  async helper(run, { path }) {
    const events = new Set();
    const stream = run();
    for await (const event of stream) events.add(event.type ?? "chunk");
    const chat = path.startsWith("chat.");
    return { events: [...events], final: await (chat ? stream.finalChatCompletion() : stream.finalResponse()) };
  },
};

function shown(error) {
  const { status, code, param, type, message, requestID } = error;
  return { name: error.constructor.name, status, code, param, type, message, requestID, body: error.error };
}

async function answer(command) {
  const items = [];
  try {
    return { value: (await commands[command.do](bound(command), command, items)) ?? null };
  } catch (error) {
    return { error: shown(error), items };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  answer(command).then((said) => process.stdout.write(`${JSON.stringify({ id: command.id, ...said })}\n`));
}
