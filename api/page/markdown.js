// An answer's Markdown, drawn while it is written. Finished blocks are never touched again; of the last ones only what
// changes is. Markup in the text stays text, and the sanitizer lets nothing else through.

import { button, element, morph, morphText } from "./dom.js";
import { colour } from "./highlight.js";
import { mend } from "./mend.js";
import { Lexer, Marked } from "./vendor/marked.esm.js";
import "./vendor/purify.min.js";

/** Characters of a block up to which it is parsed: beyond them, it is shown as it came. */
const MAX_BLOCK = 20_000;
/** Blocks at the end that the next text may change: "2" after a list may be its next item. */
const OPEN_BLOCKS = 2;
/** Quotes and lists in one another that a browser would not survive. */
const TOO_DEEP = /^[ \t]*(?:>[ \t]?|[*+-][ \t]+|\d{1,9}[.)][ \t]+){100}|^[ \t]{200,}(?:[>*+-]|\d{1,9}[.)])/m;

const escape = (text) => text.replace(/[&<>"']/g, (each) => `&#${each.charCodeAt(0)};`);

const parser = new Marked({
  gfm: true,
  tokenizer: { html() {}, tag() {} }, // markup is text
  renderer: {
    // The page loads nothing from other sites: a picture is a link.
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    code: ({ text, lang }) => `<pre><code class="language-${escape(lang ?? "")}">${escape(text)}</code></pre>`,
    heading({ tokens, depth }) {
      const level = Math.min(6, depth + 2); // the page and the question have the first two
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
  },
});

/** Elements in which white space is text. */
const INLINE = new Set(["p", "pre", "h3", "h4", "h5", "h6", "td", "th"]);

const SAFE = {
  ALLOWED_TAGS: [
    "a", "b", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "i", "li", "ol", "p", "pre",
    "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
  ],
  ALLOWED_ATTR: ["href", "title", "class", "start", "align"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ADD_URI_SAFE_ATTR: ["start", "align"], // no addresses
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

export class MarkdownView {
  element = element("div", "md");
  #text = "";
  #held = ""; // a carriage return whose newline may come
  #blocks = []; // { raw, type, node }, one for each block
  #closed = 0; // of these, the blocks that do not change any more
  #start = 0; // where the text of the first open block begins
  #isFinal = false;
  #onClosed;

  /** `onClosed(text)` is called with the text of each block that is complete, for screen readers. */
  constructor(onClosed = () => {}) {
    this.#onClosed = onClosed;
  }

  get text() {
    return this.#text + this.#held;
  }

  append(piece) {
    const text = this.#held + piece;
    this.#held = text.endsWith("\r") ? "\r" : "";
    this.#text += text.slice(0, text.length - this.#held.length).replace(/\r\n?/g, "\n");
  }

  draw() {
    const { blocks, links } = split(this.#text.slice(this.#start));
    this.#show(this.#closed, blocks, links, true);
    for (const { length } of blocks.slice(0, -OPEN_BLOCKS)) {
      this.#start += length;
      this.#close();
    }
  }

  /** Draws the whole text once more: a definition at its end may change the links before it. */
  finish() {
    if (this.#isFinal) return;
    this.#isFinal = true;
    this.#text += this.#held ? "\n" : "";
    this.#held = "";
    const { blocks, links } = split(this.#text);
    this.#show(0, blocks, links, false);
    while (this.#closed < this.#blocks.length) this.#close();
  }

  /** Shows these blocks, the first of them as number `from`, and none after them. */
  #show(from, blocks, links, isLive) {
    const hasLinks = Object.keys(links).length > 0;
    blocks.forEach(({ raw, type, token }, at) => {
      const isLast = isLive && at === blocks.length - 1;
      const shown = isLast && type !== "code" && raw.length <= MAX_BLOCK ? mend(raw, type) : raw;
      let block = this.#blocks[from + at];
      if (block?.raw === shown && block.type === type && !hasLinks) return;
      if (!block) {
        this.#blocks.push((block = { node: element("div", "block") }));
        this.element.append(block.node);
      }
      if (type === "plain") showPlain(block, raw);
      else if (type === "code") showCode(block, token, isLast);
      else morph(block.node, renderSafely(shown, links));
      Object.assign(block, { raw: shown, type });
    });
    for (const { node } of this.#blocks.splice(from + blocks.length)) node.remove();
  }

  #close() {
    const { node } = this.#blocks[this.#closed];
    this.#closed += 1;
    if (node.textContent) this.#onClosed(node.textContent);
  }
}

/** Returns the blocks of a text: each with what it is, its source, and its length with the empty lines after it. And the
 * links that the text defines. */
function split(text) {
  const lexer = new Lexer(parser.defaults);
  const plain = { blocks: [{ type: "plain", raw: text, length: text.length }], links: {} };
  if (TOO_DEEP.test(text)) return plain;
  try {
    lexer.blockTokens(text, lexer.tokens);
  } catch (error) {
    if (error instanceof RangeError) return plain;
    throw error;
  }
  const blocks = [];
  let before = 0; // empty lines at the beginning
  for (const token of lexer.tokens) {
    const { type, raw } = token;
    if (type !== "space") {
      const isLong = raw.length > MAX_BLOCK && type !== "code";
      blocks.push({ type: isLong ? "plain" : type, raw, length: before + raw.length, token });
      before = 0;
    } else if (blocks.length) {
      blocks.at(-1).length += raw.length;
    } else {
      before += raw.length;
    }
  }
  return { blocks, links: lexer.tokens.links };
}

function showPlain(block, raw) {
  if (block.type !== "plain") block.node.replaceChildren(element("p", "", " "));
  block.node.firstChild.dir = "auto";
  morphText(block.node.firstChild.firstChild, raw);
}

function showCode(block, { text, lang = "" }, isLast) {
  const name = lang.split(/\s/)[0];
  // The beginning of the closing fence is no code.
  const shown = isLast ? text.replace(/\n?[ ]{0,3}[`~]{1,2}$/, "") : text;
  let code = block.type === "code" && block.node.querySelector("code");
  if (!code || code.dataset.language !== name) {
    block.node.replaceChildren(codeBox(name));
    code = block.node.querySelector("code");
  }
  colour(code, shown, name);
}

function codeBox(name) {
  const box = element("div", "code");
  const head = element("div", "code-head");
  head.append(element("span", "", name || "text"), button("copy-code", "Copy", "Copy this code"));
  const code = element("code");
  code.dataset.language = name;
  const pre = element("pre");
  pre.tabIndex = 0; // the keyboard can scroll it
  pre.setAttribute("role", "region");
  pre.setAttribute("aria-label", `Code: ${name || "text"}`);
  pre.dir = "ltr";
  pre.append(code);
  box.append(head, pre);
  return box;
}

/** Returns a fragment: the text as it came where its emphasis is nested so deep that the parser gives up. */
function renderSafely(raw, links) {
  try {
    return render(raw, links);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const fragment = new DocumentFragment();
    fragment.append(element("p", "", raw));
    return fragment;
  }
}

/** Returns a fragment. `links`: what other blocks define. */
function render(raw, links) {
  const lexer = new Lexer(parser.defaults);
  lexer.tokens.links = links;
  const fragment = globalThis.DOMPurify.sanitize(parser.parser(lexer.lex(raw)), SAFE);
  removeGaps(fragment);
  for (const each of fragment.querySelectorAll("p, h3, h4, h5, h6, li, td, th, blockquote")) each.dir = "auto";
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const table of fragment.querySelectorAll("table")) {
    const box = element("div", "table");
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", "Table");
    table.replaceWith(box);
    box.append(table);
  }
  for (const pre of fragment.querySelectorAll("pre")) {
    const code = pre.firstElementChild;
    const name = (code.className.match(/^language-(\S+)/) ?? ["", ""])[1];
    const box = codeBox(name);
    colour(box.querySelector("code"), code.textContent, name);
    pre.replaceWith(box);
  }
  return fragment;
}

/** Removes the line ends that the parser writes between blocks: they would be shown in a list's item. */
function removeGaps(node) {
  for (const child of [...node.childNodes]) {
    if (child.nodeType === Node.ELEMENT_NODE) {
      if (!INLINE.has(child.localName)) removeGaps(child);
    } else if (!child.data.trim() && child.data.includes("\n")) {
      child.remove();
    }
  }
}
