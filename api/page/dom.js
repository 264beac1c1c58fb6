// Helpers that make and change nodes. Text becomes text nodes; no string becomes markup here.

export const $ = (id) => document.getElementById(id);

export function element(tag, name = "", text = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text) made.append(text);
  return made;
}

export function button(name, text, label = "") {
  const made = element("button", `quiet ${name}`, text);
  made.type = "button";
  if (label) made.setAttribute("aria-label", label);
  return made;
}

/** Writes only changes: a screen reader would repeat the text. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Makes the children of `old` equal to those of `fresh`. Nodes that stay the same are kept, and text is appended to
 * the node that it continues: a selection, a scroll position and the focus survive.
 */
export function morph(old, fresh) {
  let have = old.firstChild;
  for (const want of [...fresh.childNodes]) {
    const next = have?.nextSibling ?? null;
    if (!have) old.append(want);
    else if (have.nodeName !== want.nodeName) have.replaceWith(want);
    else if (have.nodeType === Node.TEXT_NODE) morphText(have, want.data);
    else morphElement(have, want);
    have = next;
  }
  while (have) {
    const next = have.nextSibling;
    have.remove();
    have = next;
  }
}

export function morphText(node, text) {
  if (node.data === text) return;
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}

function morphElement(have, want) {
  for (const { name } of [...have.attributes]) if (!want.hasAttribute(name)) have.removeAttribute(name);
  for (const { name, value } of want.attributes) if (have.getAttribute(name) !== value) have.setAttribute(name, value);
  morph(have, want);
}
