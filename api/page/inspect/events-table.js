// A job's events as they come. Texts are hidden until one asks for them: they hold what people have written.

import { $, h, inNextFrame, setAttribute, setHidden, setText } from "./dom.js";
import { number, plural, visible } from "./format.js";
import { VirtualRows } from "./virtual-rows.js";

const MOST = 20_000; // rows kept
const LONGEST_LINE = 300; // characters of a text in its row
const LONGEST = 20_000; // characters of an event below the table, unless asked for more
const TEXT = new Set(["content", "reasoning", "refusal", "tool_call_delta", "tool_call", "function_call"]);
const ENDS = new Set(["done", "failed", "cancelled"]);

export class EventsTable {
  #rows = [];
  #seen = 0; // the number of the newest event
  #attempt = 0;
  #dropped = 0;
  #showTexts = false;
  #selected = null;
  #follows = false;
  #view;
  #drawSoon = inNextFrame(() => this.#draw());
  #scroller = $("event-scroller");

  constructor() {
    this.#view = new VirtualRows(this.#scroller, $("event-rows"), {
      key: ({ key }) => key,
      make: (row) => this.#make(row),
      update: (node, row) => this.#update(node, row),
    });
    $("show-texts").addEventListener("click", () => {
      this.#showTexts = !this.#showTexts;
      this.#draw();
    });
    $("close-event").addEventListener("click", () => this.#select(null));
    $("whole-event").addEventListener("click", () => this.#drawSelected(Infinity));
    this.#draw();
  }

  /** Shows another job's events. `follows`: the newest stays in view as they come. */
  clear({ follows = false } = {}) {
    this.#follows = follows;
    this.#rows = [];
    this.#seen = this.#attempt = this.#dropped = 0;
    this.#showTexts = false;
    this.#scroller.scrollTop = 0;
    this.#select(null);
    this.#draw();
  }

  /** Takes an event of the client in. */
  add({ type, seq, data }) {
    if (type === "restarted" || type === "started") this.#attempt = data.attempt ?? this.#attempt;
    // Another attempt has taken the numbers of events that Redis has lost.
    if (type === "restarted" && seq && seq <= this.#seen) this.#seen = seq - 1;
    const from = seq ? Math.min(seq, this.#seen + 1) : 0;
    if (seq) this.#seen = seq;
    this.#rows.push({ key: `${this.#dropped + this.#rows.length}`, type, seq, from, data, attempt: this.#attempt });
    if (this.#rows.length > MOST) this.#dropped += this.#rows.splice(0, MOST / 2).length;
    this.#drawSoon();
  }

  #draw() {
    const wasAtEnd = this.#view.isAtEnd && !this.#selected && (this.#follows || this.#scroller.scrollTop > 0);
    this.#view.setItems([...this.#rows]);
    if (wasAtEnd) this.#view.scrollToEnd();
    this.#view.refresh();
    setAttribute($("event-table"), "aria-rowcount", this.#rows.length + 1);
    setText($("event-count"), plural(this.#rows.length, "row"));
    setAttribute($("show-texts"), "aria-pressed", String(this.#showTexts));
    setHidden($("dropped-events"), !this.#dropped);
    setText($("dropped-events"), `${number(this.#dropped)} older rows are not shown. Reload the page to see them merged.`);
  }

  #make(row) {
    const parts = {
      number: h("span", { role: "cell", class: "c-number number" }),
      type: h("span", { role: "cell", class: "c-type" }),
      size: h("span", { role: "cell", class: "c-size number" }),
      text: h("span", { class: "c-words", dir: "auto" }),
      button: h("button", { type: "button", class: "quiet small" }, "Show"),
    };
    parts.button.addEventListener("click", () => this.#select(this.#selected === row ? null : row));
    const what = h("span", { role: "cell", class: "c-what" }, parts.button, parts.text);
    const node = h("div", { role: "row", class: "row" }, parts.number, parts.type, parts.size, what);
    node.parts = parts;
    return node;
  }

  #update(node, row) {
    const { parts } = node;
    const numbers = !row.seq ? "–" : row.from < row.seq ? `${number(row.from)}–${number(row.seq)}` : number(row.seq);
    setText(parts.number, numbers);
    setText(parts.type, visible(row.type));
    setAttribute(node, "data-type", row.type);
    // Text before a restart does not count any more.
    setAttribute(node, "data-void", row.attempt < this.#attempt && TEXT.has(row.type));
    const text = textOf(row);
    setText(parts.size, text ? plural(text.length, "character") : "");
    setText(parts.text, factsOf(row) || (this.#showTexts ? visible(text.slice(0, LONGEST_LINE)) : ""));
    setAttribute(parts.button, "aria-expanded", String(this.#selected === row));
    setAttribute(parts.button, "aria-label", `Show event ${numbers}`);
  }

  /** Shows one event whole, below the table. */
  #select(row) {
    this.#selected = row;
    setHidden($("event"), !row);
    if (row) this.#drawSelected(LONGEST);
    this.#view.refresh();
  }

  #drawSelected(longest) {
    const { type, seq, data } = this.#selected;
    const whole = JSON.stringify(data, null, 2);
    setText($("event-title"), visible(seq ? `Event ${number(seq)}, ${type}` : type));
    setText($("event-data"), whole.slice(0, longest));
    setHidden($("whole-event"), whole.length <= longest);
    setText($("whole-event"), `Show ${plural(whole.length - LONGEST, "more character")}`);
  }
}

/** The words of people and models in an event. */
function textOf({ type, data }) {
  if (!TEXT.has(type) && !ENDS.has(type)) return "";
  if (typeof data.content === "string") return data.content;
  if (typeof data.arguments_text === "string") return data.arguments_text;
  if (typeof data.arguments === "string") return data.arguments;
  return data.arguments ? JSON.stringify(data.arguments) : "";
}

/** What an operator needs to see at once, without any text. */
function factsOf({ type, data }) {
  const worker = data.worker && [data.worker.host, data.worker.pid].filter(Boolean).join(" · ");
  const facts = {
    queued: [data.model],
    started: [`attempt ${data.attempt}`, worker],
    restarted: [`attempt ${data.attempt}`, data.reason, worker],
    waiting: [`for the ${data.for}`, data.reason],
    done: [data.finish_reason],
    cancelled: [data.by && `by ${data.by}`],
    failed: [data.error?.code, data.error?.message],
    tool_call: [data.name],
    tool_call_delta: [data.name],
    function_call: [data.name],
  };
  return visible((facts[type] ?? []).filter(Boolean).join(", "));
}
