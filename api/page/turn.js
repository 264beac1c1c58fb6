// A question and its answer on the page. Text is added as text nodes, once a frame.

import { hasContent, TERMINAL } from "./transcript.js";

const NAMES = { reasoning: "Reasoning", refusal: "Refusal", tool: "Tool call", function: "Function call" };
// Characters after which the next line starts a new block: a browser lays out a growing block anew each time.
const BLOCK_LENGTH = 4000;

export function element(tag, name = "", text = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text) made.append(text);
  return made;
}

export class TurnView {
  element = element("article", "turn");
  #restarts = element("div", "restarts");
  #answer = element("div", "answer");
  #notes = element("div", "notes");
  #drawn = new Map();
  #resets = 0;
  #lastNotes = "";

  constructor(question) {
    if (question) {
      const asked = element("p", "question", question);
      asked.dir = "auto";
      this.element.append(asked);
    }
    this.element.append(this.#restarts, this.#answer, this.#notes);
  }

  /** Draws what is new in `state`. */
  draw(state) {
    if (state.resets !== this.#resets) {
      this.#resets = state.resets;
      this.#answer.replaceChildren();
      this.#drawn.clear();
    }
    for (const part of state.parts) this.#drawPart(part);
    const ended = TERMINAL.has(state.status);
    this.element.classList.toggle("live", !ended);
    this.element.classList.toggle("waiting", !ended && !hasContent(state));
    this.#drawNotes(state);
  }

  #drawPart(part) {
    let drawn = this.#drawn.get(part.key);
    if (!drawn) this.#drawn.set(part.key, (drawn = this.#createPart(part)));
    if (drawn.name && part.name) drawn.name.textContent = part.name;
    if (part.whole && !drawn.whole) {
      drawn.whole = true;
      drawn.body.replaceChildren(part.whole.text);
      if (part.whole.problem) drawn.box.append(element("p", "bad", `Invalid JSON in the arguments: ${part.whole.problem}`));
    } else if (!part.whole && part.pieces.length > drawn.count) {
      this.#appendText(drawn, part.pieces.slice(drawn.count).join(""));
      drawn.count = part.pieces.length;
    }
  }

  #createPart(part) {
    const choice = part.choice ? `Choice ${part.choice + 1}` : "";
    if (part.kind === "tool" || part.kind === "function") {
      const box = element("section", "call");
      const head = element("p", "kind", NAMES[part.kind]);
      const name = element("code", "", part.name ?? "");
      head.append(" ", name, choice && ` (${choice})`);
      const body = element("pre");
      body.tabIndex = 0; // the keyboard can scroll it
      box.append(head, body);
      this.#answer.append(box);
      return { box, name, body, count: 0, size: -Infinity, whole: false };
    }
    let box = element("section", part.kind);
    if (part.kind === "reasoning") {
      box = element("details", "reasoning");
      box.open = true;
      box.append(element("summary", "kind", NAMES.reasoning + (choice && `, ${choice}`)));
    } else if (choice || NAMES[part.kind]) {
      box.append(element("p", "kind", [NAMES[part.kind], choice].filter(Boolean).join(", ")));
    }
    const body = this.#createBlock(box);
    this.#answer.append(box);
    return { box, body, count: 0, size: 0, whole: false };
  }

  #createBlock(box) {
    const block = element("div", "text");
    block.dir = "auto";
    box.append(block);
    return block;
  }

  #appendText(drawn, text) {
    let rest = text;
    while (drawn.size + rest.length > BLOCK_LENGTH) {
      // The newline stays, unseen, at the end of its block: copied text is the same.
      const cut = rest.indexOf("\n", Math.max(0, BLOCK_LENGTH - drawn.size)) + 1;
      if (!cut) break;
      drawn.body.append(rest.slice(0, cut));
      rest = rest.slice(cut);
      drawn.body = this.#createBlock(drawn.box);
      drawn.size = 0;
    }
    drawn.body.append(rest);
    drawn.size += rest.length;
  }

  #drawNotes(state) {
    // Above the answer: below it, the note would seem to discard the text that is shown.
    const restarts = state.restarts.map(({ attempt, reason }) => {
      const why = reason && ` (${reason.replaceAll("_", " ")})`;
      return ["note", `Started over: attempt ${attempt}${why}. The earlier text is discarded.`];
    });
    const notes = [];
    if (state.status === "cancelled") notes.push(["note", `Stopped${hasContent(state) ? " here" : ""}${state.by && state.by !== "client" ? `, by ${state.by}` : ""}.`]);
    if (state.status === "failed") notes.push(["bad", `${state.error?.message ?? "It failed."} (${state.error?.code ?? "unknown"})`]);
    if (state.finishReason === "length") notes.push(["note", "Cut off at the model’s length limit."]);
    if (state.finishReason === "content_filter") notes.push(["note", "Cut off by the model’s content filter."]);
    if (state.status === "done" && !hasContent(state)) notes.push(["note", "The answer is empty."]);
    const notesJson = JSON.stringify([restarts, notes]);
    if (notesJson === this.#lastNotes) return;
    this.#lastNotes = notesJson;
    const lines = (list) => list.map(([name, text]) => element("p", name, text));
    this.#restarts.replaceChildren(...lines(restarts));
    this.#notes.replaceChildren(...lines(notes));
  }
}
