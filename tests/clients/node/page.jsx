// A chat in a page. The address has the options, as JSON behind the #: {api, id, transport: default or workflow, body}.
// VERSION, 6 or 7, is the bundle's; the packages' names are those of that version.
import { Chat, useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { useEffect } from "react";
import { createRoot } from "react-dom/client";

const { api, id, transport: kind, body } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
const stored = JSON.parse(localStorage.getItem(id) ?? "[]");
const reset = VERSION === 6 ? "?reset=data" : "";

const ended = (message) => message?.metadata?.metrics !== undefined;

// By the answer that the page shows a part of, which may have ended meanwhile; else the one that runs.
const prepareReconnectToStreamRequest = () => {
  const name = chat.lastMessage?.metadata?.jobId ?? id;
  return { api: `${api}/${encodeURIComponent(name)}/stream${reset}` };
};

async function made() {
  if (VERSION === 7 && kind === "workflow") {
    const { WorkflowChatTransport } = await import("@ai-sdk/workflow/client");
    const transport = new WorkflowChatTransport({
      api,
      prepareReconnectToStreamRequest,
      prepareSendMessagesRequest: ({ id, messages }) => ({ body: { id, messages, ...body } }),
    });
    // Without it the chat puts the replay behind the part that it has.
    return Object.assign(transport, { resumeStreamIsReplay: true });
  }
  return new DefaultChatTransport({ api: api + reset, body, prepareReconnectToStreamRequest });
}

const again = () => setTimeout(() => ["ready", "error"].includes(chat.status) && chat.resumeStream(), 500);

const chat = new Chat({
  id,
  messages: stored,
  transport: await made(),
  // The network broke, or the server stopped.
  onError: (error) => error instanceof TypeError && again(),
});

const resume = !ended(chat.lastMessage);

function text({ parts }) {
  const start = parts.findLastIndex((part) => part.type === "data-readalong");
  return parts.slice(start + 1).map((part) => (part.type === "text" ? part.text : "")).join("");
}

function Page() {
  const { messages, sendMessage, status, error, stop } = useChat({ chat, resume });

  useEffect(() => localStorage.setItem(id, JSON.stringify(messages)), [messages]);

  const ask = (event) => {
    event.preventDefault();
    sendMessage({ text: event.target.elements.question.value });
    event.target.reset();
  };
  const halt = () => {
    fetch(`${api}/${encodeURIComponent(id)}/stop`, { method: "POST", body: "{}" });
    return stop();
  };

  return (
    <>
      {messages.map((message) => (
        <p key={message.id} className={message.role} id={message.id} data-ended={ended(message)}>
          {text(message)}
        </p>
      ))}
      <form onSubmit={ask}>
        <input name="question" />
        <button>Ask</button>
      </form>
      <button id="stop" onClick={halt}>
        Stop
      </button>
      <output id="status">{status}</output> <output id="error">{error?.message}</output>
    </>
  );
}

createRoot(document.getElementById("page")).render(<Page />);
