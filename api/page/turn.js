// A question and its answer on the page. Text goes in as text nodes, once a frame.

import { speaking, TERMINAL } from "./fold.js";

const NAMES = { reasoning: "Reasoning", refusal: "Refusal", tool: "Tool call", function: "Function call" };
// A block of text is laid out anew as it grows; beyond this many characters the next line starts another.
const BLOCK = 4000;

export function element(tag, name = "", text = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text) made.append(text);
  return made;
}

export class Turn {
  element = element("article", "turn");
  #restarts = element("div", "restarts");
  #answer = element("div", "answer");
  #notes = element("div", "notes");
  #drawn = new Map();
  #voided = 0;
  #told = "";

  constructor(question) {
    if (question) {
      const asked = element("p", "question", question);
      asked.dir = "auto";
      this.element.append(asked);
    }
    this.element.append(this.#restarts, this.#answer, this.#notes);
  }

  /** Brings the page up to `state`; costs what is new. */
  draw(state) {
    if (state.voided !== this.#voided) {
      this.#voided = state.voided;
      this.#answer.replaceChildren();
      this.#drawn.clear();
    }
    for (const part of state.parts) this.#drawPart(part);
    const ended = TERMINAL.has(state.status);
    this.element.classList.toggle("live", !ended);
    this.element.classList.toggle("waiting", !ended && !speaking(state));
    this.#tell(state);
  }

  #drawPart(part) {
    let drawn = this.#drawn.get(part.key);
    if (!drawn) this.#drawn.set(part.key, (drawn = this.#begin(part)));
    if (drawn.name && part.name) drawn.name.textContent = part.name;
    if (part.whole && !drawn.whole) {
      drawn.whole = true;
      drawn.body.replaceChildren(part.whole.text);
      if (part.whole.problem) drawn.box.append(element("p", "bad", `The arguments are no JSON: ${part.whole.problem}`));
    } else if (!part.whole && part.pieces.length > drawn.count) {
      this.#write(drawn, part.pieces.slice(drawn.count).join(""));
      drawn.count = part.pieces.length;
    }
  }

  #begin(part) {
    const choice = part.choice ? `Choice ${part.choice + 1}` : "";
    if (part.kind === "tool" || part.kind === "function") {
      const box = element("section", "call");
      const head = element("p", "kind", NAMES[part.kind]);
      const name = element("code", "", part.name ?? "");
      head.append(" ", name, choice && ` (${choice})`);
      const body = element("pre");
      // So that the keyboard can scroll it.
      body.tabIndex = 0;
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
    const body = this.#block(box);
    this.#answer.append(box);
    return { box, body, count: 0, size: 0, whole: false };
  }

  #block(box) {
    const block = element("div", "text");
    block.dir = "auto";
    box.append(block);
    return block;
  }

  #write(drawn, text) {
    let rest = text;
    while (drawn.size + rest.length > BLOCK) {
      // The line end stays at the block's end, where it is not seen: the text is the same.
      const cut = rest.indexOf("\n", Math.max(0, BLOCK - drawn.size)) + 1;
      if (!cut) break;
      drawn.body.append(rest.slice(0, cut));
      rest = rest.slice(cut);
      drawn.body = this.#block(drawn.box);
      drawn.size = 0;
    }
    drawn.body.append(rest);
    drawn.size += rest.length;
  }

  #tell(state) {
    // Above the answer: below it, "before" would seem to be the text that is shown.
    const restarts = state.restarts.map(({ attempt, reason }) => {
      const why = reason && ` (${reason.replaceAll("_", " ")})`;
      return ["note", `Started again: attempt ${attempt}${why}. What had been written before is void.`];
    });
    const notes = [];
    if (state.status === "cancelled") notes.push(["note", `Stopped${speaking(state) ? " here" : ""}${state.by && state.by !== "client" ? `, by ${state.by}` : ""}.`]);
    if (state.status === "failed") notes.push(["bad", `${state.error?.message ?? "It failed."} (${state.error?.code ?? "unknown"})`]);
    if (state.finishReason === "length") notes.push(["note", "Cut at the model’s length limit."]);
    if (state.finishReason === "content_filter") notes.push(["note", "Cut by the model’s content filter."]);
    if (state.status === "done" && !speaking(state)) notes.push(["note", "The model said nothing."]);
    const told = JSON.stringify([restarts, notes]);
    if (told === this.#told) return;
    this.#told = told;
    const lines = (list) => list.map(([name, text]) => element("p", name, text));
    this.#restarts.replaceChildren(...lines(restarts));
    this.#notes.replaceChildren(...lines(notes));
  }
}
