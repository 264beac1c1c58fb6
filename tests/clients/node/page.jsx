// A chat in a page. The address has the options, as JSON behind the #: {api, id, transport: default or workflow, body}.
// VERSION, 6 or 7, is the bundle's; the packages' names are those of that version.
import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { useEffect } from "react";
import { createRoot } from "react-dom/client";

const { api, id, transport: kind, body } = JSON.parse(decodeURIComponent(location.hash.slice(1)));

async function made() {
  if (VERSION === 7 && kind === "workflow") {
    const { WorkflowChatTransport } = await import("@ai-sdk/workflow/client");
    return new WorkflowChatTransport({
      api,
      prepareSendMessagesRequest: ({ id, messages }) => ({ body: { id, messages, ...body } }),
    });
  }
  const reset = VERSION === 6 ? "?reset=data" : "";
  return new DefaultChatTransport({
    api: api + reset,
    body,
    prepareReconnectToStreamRequest: ({ id }) => ({ api: `${api}/${encodeURIComponent(id)}/stream${reset}` }),
  });
}

const stored = JSON.parse(localStorage.getItem(id) ?? "[]");

function text({ parts }) {
  const start = parts.findLastIndex((part) => part.type === "data-readalong");
  return parts.slice(start + 1).map((part) => (part.type === "text" ? part.text : "")).join("");
}

function Page({ transport }) {
  const { messages, sendMessage, status, error, stop, resumeStream } = useChat({
    id,
    messages: stored,
    resume: true,
    transport,
  });

  useEffect(() => {
    if (status !== "streaming") localStorage.setItem(id, JSON.stringify(messages));
  }, [messages, status]);

  useEffect(() => {
    const back = () => status === "error" && resumeStream();
    addEventListener("online", back);
    return () => removeEventListener("online", back);
  }, [status, resumeStream]);

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
        <p key={message.id} className={message.role} id={message.id}>
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

createRoot(document.getElementById("page")).render(<Page transport={await made()} />);
