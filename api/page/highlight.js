// Colours for code. The highlighter is large: it is loaded when the first code is there, which is shown without it.

import { morph, morphText } from "./dom.js";

const MAX_COLOURED = 20_000; // characters
const SAFE = { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true };

let highlighter = null;
let loading = null;

/** Shows the text in a code element, coloured if its language is known. */
export function colour(code, text, name) {
  if (!highlighter) {
    loading ??= load();
    return showPlain(code, text);
  }
  if (!highlighter.getLanguage(name) || text.length > MAX_COLOURED) return showPlain(code, text);
  code.className = "coloured";
  const { value } = highlighter.highlight(text, { language: name, ignoreIllegals: true });
  morph(code, globalThis.DOMPurify.sanitize(value, SAFE));
}

function showPlain(code, text) {
  if (code.childNodes.length !== 1 || code.firstChild.nodeType !== Node.TEXT_NODE) code.replaceChildren("");
  if (!code.firstChild) code.append(document.createTextNode(""));
  morphText(code.firstChild, text);
}

async function load() {
  try {
    highlighter = (await import("./vendor/highlight.min.js")).default;
  } catch {
    loading = null; // the server is away; the next code tries again
    return;
  }
  for (const code of document.querySelectorAll("code[data-language]")) {
    colour(code, code.textContent, code.dataset.language);
  }
}
