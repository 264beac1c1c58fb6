// A question and its answer on the page.

import { button, element, setText } from "./dom.js";
import { MarkdownView } from "./markdown.js";

const NAMES = { reasoning: "Reasoning", refusal: "Refusal", tool: "Tool call", function: "Function call" };
const LONG_QUESTION = 1000; // characters, after which the question scrolls in its bubble

export class TurnView {
  element = element("article", "turn");
  #restarts = element("div", "restarts");
  #answer = element("div", "answer");
  #notes = element("div", "notes");
  #actions = element("div", "actions");
  #announce;
  #parts = null; // of the transcript's attempt that is drawn
  #drawn = new Map();
  #lastNotes = "";

  /** `announce(text)`: for screen readers, a piece of the answer that is complete. */
  constructor(question, announce = () => {}) {
    this.#announce = announce;
    if (question) this.element.append(...askedNodes(question));
    this.#actions.append(button("copy-answer", "Copy", "Copy the answer"), button("again", "Ask again"));
    this.element.append(element("h2", "unseen", "Answer"), this.#restarts, this.#answer, this.#notes, this.#actions);
  }

  /** Draws what is new in the transcript. `problem`: why there will be no more of it. */
  draw(transcript, problem = null) {
    if (transcript.parts !== this.#parts) {
      this.#parts = transcript.parts;
      this.#answer.replaceChildren();
      this.#drawn.clear();
    }
    const ended = transcript.ended || problem !== null;
    transcript.parts.forEach((part, at) => this.#drawPart(part, ended, at + 1 < transcript.parts.length));
    this.element.classList.toggle("live", !ended);
    this.element.classList.toggle("waiting", !ended && !transcript.parts.length);
    this.element.setAttribute("aria-busy", String(!ended));
    this.#drawNotes(transcript, problem);
  }

  #drawPart(part, ended, hasNext) {
    let drawn = this.#drawn.get(part);
    if (!drawn) this.#drawn.set(part, (drawn = this.#create(part)));
    if (part.kind === "tool" || part.kind === "function") return drawCall(drawn, part);
    const isComplete = ended || (hasNext && part.kind === "reasoning");
    if (part.text.length > drawn.length) {
      drawn.view.append(part.text.slice(drawn.length));
      drawn.length = part.text.length;
      drawn.view.draw();
    }
    if (isComplete) drawn.view.finish();
    if (part.kind === "reasoning") this.#drawFolded(drawn, isComplete);
  }

  /** A screen reader is told where the reasoning is, once. The page's status says that the model reasons. */
  #drawFolded(drawn, isComplete) {
    setText(drawn.summary, isComplete ? "Reasoning" : "Reasoning …");
    if (!isComplete || drawn.isTold) return;
    drawn.isTold = true;
    if (!drawn.box.open) this.#announce("The reasoning is folded above the answer.");
  }

  #create(part) {
    const choice = part.choice ? `Choice ${part.choice + 1}` : "";
    if (part.kind === "tool" || part.kind === "function") {
      const made = createCall(part, choice);
      this.#answer.append(made.box);
      return made;
    }
    const isFolded = part.kind === "reasoning";
    const box = element(isFolded ? "details" : "section", part.kind);
    // The answer itself is read out, and reasoning by one who has unfolded it.
    const view = new MarkdownView((text) => !part.choice && (!isFolded || box.open) && this.#announce(text));
    let summary = null;
    if (isFolded) {
      summary = element("summary", "kind");
      box.append(summary);
    } else if (choice || NAMES[part.kind]) {
      box.append(element("p", "kind", [NAMES[part.kind], choice].filter(Boolean).join(", ")));
    }
    box.append(view.element);
    this.#answer.append(box);
    return { box, view, summary, length: 0, isTold: false };
  }

  #drawNotes(transcript, problem) {
    const { status, by, error, finishReason, parts } = transcript;
    // Above the answer: below it, the note would seem to discard the text that is shown.
    const restarts = transcript.restarts.map(({ attempt, reason }) => {
      const why = reason && ` (${reason.replaceAll("_", " ")})`;
      return ["note", `Started over: attempt ${attempt}${why}. The earlier text is discarded.`];
    });
    const notes = [];
    if (status === "cancelled") notes.push(["note", `Stopped${parts.length ? " here" : ""}${by && by !== "client" ? `, by ${by}` : ""}.`]);
    if (status === "failed") notes.push(["bad", `${error?.message ?? "It failed."} (${error?.code ?? "unknown"})`]);
    if (problem) notes.push(["bad", problem]);
    if (finishReason === "length") notes.push(["note", "Cut off at the model’s length limit."]);
    if (finishReason === "content_filter") notes.push(["note", "Cut off by the model’s content filter."]);
    if (status === "done" && !parts.length) notes.push(["note", "The answer is empty."]);
    const notesJson = JSON.stringify([restarts, notes]);
    if (notesJson === this.#lastNotes) return;
    this.#lastNotes = notesJson;
    const lines = (list) => list.map(([name, text]) => element("p", name, text));
    this.#restarts.replaceChildren(...lines(restarts));
    this.#notes.replaceChildren(...lines(notes));
  }
}

function askedNodes(question) {
  const asked = element("p", "question", question);
  asked.dir = "auto";
  if (question.length > LONG_QUESTION || question.split("\n").length > 15) {
    asked.classList.add("long");
    asked.tabIndex = 0; // the keyboard can scroll it
  }
  const edit = element("p", "asked-actions");
  edit.append(button("edit", "Edit", "Edit this question"));
  return [element("h2", "unseen", "Question"), asked, edit];
}

function createCall(part, choice) {
  const box = element("section", "call");
  const head = element("p", "kind", NAMES[part.kind]);
  const name = element("code");
  const state = element("span", "writing", " …");
  head.append(" ", name, choice && ` (${choice})`, state);
  const body = element("pre");
  body.dir = "ltr";
  body.tabIndex = 0; // the keyboard can scroll it
  body.setAttribute("role", "region");
  body.setAttribute("aria-label", "Arguments");
  box.append(head, body);
  return { box, name, state, body, length: 0, isComplete: false };
}

function drawCall(drawn, part) {
  setText(drawn.name, part.name ?? "");
  if (part.complete && !drawn.isComplete) {
    drawn.isComplete = true;
    drawn.state.remove();
    drawn.body.replaceChildren(part.error || part.arguments == null ? part.text : pretty(part.arguments));
    if (part.error) drawn.box.append(element("p", "bad", `Invalid JSON in the arguments: ${part.error}`));
  } else if (!drawn.isComplete && part.text.length > drawn.length) {
    drawn.body.append(part.text.slice(drawn.length));
    drawn.length = part.text.length;
  }
}

function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}
