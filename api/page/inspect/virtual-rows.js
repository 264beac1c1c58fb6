// A list of rows of which only those in view are in the document: 100,000 rows cost what 30 do.

import { inNextFrame, setAttribute } from "./dom.js";

const OVERSCAN = 6; // rows above and below the view, so that scrolling shows no gap

export class VirtualRows {
  #scroller;
  #body;
  #row;
  #items = [];
  #nodes = new Map(); // key → { node, index }
  #height = 0;
  #draw = inNextFrame(() => this.draw());

  /**
   * `scroller` scrolls, `body` inside it gets the rows. `row`: `key(item)`, `make(item)` → element,
   * `update(node, item, index)`; `firstIndex`: aria-rowindex of the first row; `onEnd()` is called when the last rows
   * come into view.
   */
  constructor(scroller, body, row) {
    this.#scroller = scroller;
    this.#body = body;
    this.#row = row;
    scroller.addEventListener("scroll", this.#draw, { passive: true });
    new ResizeObserver(() => {
      this.#height = 0;
      this.#draw();
    }).observe(scroller);
    scroller.addEventListener("keydown", (event) => this.#onKey(event));
  }

  get items() {
    return this.#items;
  }

  /** Shows these items. Rows in view stay where they are when others come above them, unless the view is at the top. */
  setItems(items) {
    const anchor = this.#anchor();
    this.#items = items;
    this.#setSize();
    if (anchor) {
      const isSame = anchor.index < items.length && this.#row.key(items[anchor.index]) === anchor.key;
      const index = isSame ? anchor.index : items.findIndex((item) => this.#row.key(item) === anchor.key);
      if (index >= 0 && index !== anchor.index) this.#scroller.scrollTop += (index - anchor.index) * this.#height;
    }
    this.#draw();
  }

  /** Draws the rows in view anew, in the next frame. */
  refresh() {
    this.#draw();
  }

  scrollToEnd() {
    this.#setSize();
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#draw();
  }

  get isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < Math.max(16, this.#height);
  }

  draw() {
    if (!this.#scroller.clientHeight) return; // not shown
    const items = this.#items;
    if (!this.#height && items.length) this.#measure();
    this.#setSize();
    const height = this.#height || 1;
    const top = this.#scroller.scrollTop;
    const first = Math.max(0, Math.floor(top / height) - OVERSCAN);
    const last = Math.min(items.length, Math.ceil((top + this.#scroller.clientHeight) / height) + OVERSCAN);
    const unused = new Set(this.#nodes.keys());
    const shown = [];
    for (let index = first; index < last; index += 1) {
      const key = this.#row.key(items[index]);
      unused.delete(key);
      shown.push(this.#place(key, items[index], index));
    }
    for (const key of unused) {
      const { node } = this.#nodes.get(key);
      // The row with the focus stays, or the keyboard's reader would be thrown to the top of the page.
      if (node.contains(document.activeElement) && items.some((item) => this.#row.key(item) === key)) continue;
      node.remove();
      this.#nodes.delete(key);
    }
    // In the order of the list, which a screen reader follows.
    let place = this.#body.firstElementChild;
    for (const node of shown) {
      if (node === place) place = place.nextElementSibling;
      else this.#body.insertBefore(node, place);
    }
    if (last >= items.length - OVERSCAN) this.#row.onEnd?.();
  }

  #place(key, item, index) {
    let entry = this.#nodes.get(key);
    if (!entry) {
      entry = { node: this.#row.make(item), index: -1 };
      this.#nodes.set(key, entry);
      this.#body.append(entry.node);
    }
    if (entry.index !== index) {
      entry.index = index;
      entry.node.style.transform = `translateY(${index * this.#height}px)`;
      setAttribute(entry.node, "aria-rowindex", index + (this.#row.firstIndex ?? 2));
    }
    this.#row.update(entry.node, item, index);
    return entry.node;
  }

  #measure() {
    const node = this.#row.make(this.#items[0]);
    this.#row.update(node, this.#items[0], 0);
    this.#body.append(node);
    this.#height = node.getBoundingClientRect().height;
    node.remove();
    for (const entry of this.#nodes.values()) entry.index = -1;
  }

  #setSize() {
    const size = `${this.#items.length * this.#height}px`;
    if (this.#body.style.height !== size) this.#body.style.height = size;
  }

  #anchor() {
    const height = this.#height;
    if (!height || !this.#scroller.clientHeight || this.#scroller.scrollTop < height / 2) return null;
    const index = Math.min(this.#items.length - 1, Math.floor(this.#scroller.scrollTop / height));
    return index < 0 ? null : { index, key: this.#row.key(this.#items[index]) };
  }

  /** Moves the focus from row to row with the arrows, Home and End. */
  #onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const steps = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (step === undefined || !this.#items.length) return;
    const current = Array.from(this.#nodes.values()).find(({ node }) => node.contains(document.activeElement));
    if (!current && Math.abs(step) !== Infinity && document.activeElement !== this.#scroller) return;
    event.preventDefault();
    const from = current ? current.index : step > 0 ? -1 : this.#items.length;
    this.focusRow(Math.max(0, Math.min(this.#items.length - 1, from + step)));
  }

  focusRow(index) {
    const height = this.#height;
    const head = this.#body.offsetTop;
    const { scrollTop, clientHeight } = this.#scroller;
    if (index * height < scrollTop) this.#scroller.scrollTop = index * height;
    else if (head + (index + 1) * height > scrollTop + clientHeight) {
      this.#scroller.scrollTop = head + (index + 1) * height - clientHeight;
    }
    this.draw();
    const entry = this.#nodes.get(this.#row.key(this.#items[index]));
    entry?.node.querySelector("a, button")?.focus({ preventScroll: true });
  }
}
