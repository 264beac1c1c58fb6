// A text that is hidden until one asks for it. Until then it is not in the document at all.

import { h, setText } from "./dom.js";

const LONGEST = 50_000; // characters shown at once

export class HiddenText {
  element;
  #load;
  #box = h("pre", { tabindex: "0", dir: "auto" });
  #more = h("button", { type: "button", class: "quiet", hidden: true });
  #hint = h("span", { class: "soft hint" });
  #longest = LONGEST;
  #token = 0;

  /** `load()` returns the text, or a promise of it; null: there is none, which `absent` says. */
  constructor({ title, absent, load }) {
    this.#load = load;
    this.absent = absent;
    this.#box.setAttribute("aria-label", title);
    const summary = h("summary", {}, h("span", { class: "summary-title" }, title), " ", this.#hint);
    this.element = h("details", { class: "hidden-text" }, summary, this.#box, this.#more);
    this.element.addEventListener("toggle", () => this.refresh());
    this.#more.addEventListener("click", () => {
      this.#longest = Infinity;
      this.refresh();
    });
  }

  /** Says beside the title how much there is. */
  hint(text) {
    setText(this.#hint, text);
  }

  close() {
    this.element.open = false;
    this.#longest = LONGEST;
    this.#show("");
  }

  /** Shows the text as it is now, if it is open. */
  async refresh() {
    const mine = (this.#token += 1);
    if (!this.element.open) return this.#show("");
    let text;
    try {
      text = (await this.#load()) ?? this.absent;
    } catch (problem) {
      text = problem.message;
    }
    if (mine === this.#token && this.element.open) this.#show(text);
  }

  #show(text) {
    setText(this.#box, text.slice(0, this.#longest));
    this.#more.hidden = text.length <= this.#longest;
    setText(this.#more, `Show all ${text.length.toLocaleString("en")} characters`);
  }
}
