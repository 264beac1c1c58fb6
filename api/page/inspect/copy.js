// Code with a button that copies it, also on plain http, where navigator.clipboard does not exist.

import { h, setText } from "./dom.js";

const SHOWN_FOR = 1500; // milliseconds

/** Returns code and its button, a line of its own or (`span`) part of a text. `label` names it for a screen reader. */
export function codeLine(text, label, tag = "div") {
  const button = h("button", { type: "button", class: "quiet small", "aria-label": `Copy: ${label}` }, "Copy");
  button.addEventListener("click", async () => {
    setText(button, (await copy(text)) ? "Copied" : "Select it");
    setTimeout(() => setText(button, "Copy"), SHOWN_FOR);
  });
  return h(tag, { class: "code" }, h("code", {}, text), " ", button);
}

/** Returns whether the text was copied. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

function copyBySelection(text) {
  const focused = document.activeElement;
  const box = h("textarea", { class: "unseen", "aria-hidden": "true" });
  box.value = text;
  document.body.append(box);
  box.select();
  const done = document.execCommand("copy");
  box.remove();
  focused?.focus();
  return done;
}
