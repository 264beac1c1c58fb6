// The text box and its buttons.

import { $, setText } from "./dom.js";

const KEYS = "Enter sends, Shift+Enter starts a new line";
const WAIT = "Escape stops it";

export class Input {
  #busy = false;
  #running = false;

  /** Handlers: `ask(question, model)`, `stop()`, `keep()`: no edit after all. */
  constructor({ ask, stop, keep }) {
    const box = $("question");
    $("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      const question = box.value.trim();
      if (question && !this.#busy && !this.#running) ask(question, $("model").value.trim());
    });
    box.addEventListener("keydown", (event) => {
      // An Enter that ends the composition of a character does not send.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      $("ask").requestSubmit();
    });
    box.addEventListener("input", () => this.#grow());
    addEventListener("resize", () => this.#grow());
    $("stop").addEventListener("click", stop);
    $("keep").addEventListener("click", keep);
    addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]")) return;
      if (!$("editing").hidden) keep();
      else if (this.#running) stop();
    });
    this.#draw();
    this.#grow(); // a browser may restore the text
  }

  focus() {
    $("question").focus();
  }

  /** The text that is still in the box, if it is the one that was asked, goes. */
  asked(question) {
    if ($("question").value.trim() === question) this.fill("");
    this.showEditing(false);
  }

  fill(text) {
    $("question").value = text;
    this.#grow();
  }

  showEditing(yes) {
    $("editing").hidden = !yes;
  }

  /** From the click until there is a job. */
  showBusy(text) {
    this.#busy = true;
    setText($("send"), `${text}…`);
    this.#draw();
  }

  showIdle() {
    this.#busy = false;
    setText($("send"), "Send");
    this.#draw();
  }

  showRunning(yes) {
    if (yes === this.#running) return;
    const hadFocus = document.activeElement === $("stop");
    this.#running = yes;
    this.showStopping(false);
    this.#draw();
    // A hidden button loses the focus to nothing, and the keyboard would begin at the top of the page.
    if (!yes && hadFocus) this.focus();
  }

  /** The button keeps the focus meanwhile: a disabled one would lose it. */
  showStopping(yes) {
    $("stop").setAttribute("aria-disabled", String(yes));
    setText($("stop"), yes ? "Stopping…" : "Stop");
  }

  #draw() {
    $("send").disabled = this.#busy;
    $("send").hidden = this.#running;
    $("stop").hidden = !this.#running;
    setText($("keys"), this.#running ? WAIT : KEYS);
  }

  /** As high as its text, wrapped lines too. */
  #grow() {
    const box = $("question");
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight + box.offsetHeight - box.clientHeight}px`;
  }
}
