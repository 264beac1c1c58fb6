// Server-sent events (WHATWG HTML, section 9.2).

import { unreadable } from "./errors.js";

const MAX_EVENT_LENGTH = 64 * 2 ** 20; // characters

/** Reads server-sent events, however their bytes are split. */
export class EventStreamDecoder {
  #utf8 = new TextDecoder(); // it keeps split characters, and drops a BOM
  #rest = ""; // of a line
  #afterCr = false;
  #message = {};
  #length = 0;
  #limit;
  retry = 0; // milliseconds that the server asks clients to wait before they reconnect

  constructor(limit = MAX_EVENT_LENGTH) {
    this.#limit = limit;
  }

  /** Returns the messages that end in these bytes: `type`; `data` and `id`, null if the message has none. */
  feed(bytes) {
    let text = this.#utf8.decode(bytes, { stream: true });
    const messages = [];
    if (!text) return messages;
    if (this.#afterCr && text[0] === "\n") text = text.slice(1);
    this.#afterCr = text.endsWith("\r");
    let start = 0;
    // Only the new text is searched: a line of megabytes comes in many pieces.
    for (const { 0: end, index } of text.matchAll(/\r\n?|\n/g)) {
      this.#readLine(this.#rest + text.slice(start, index), messages);
      this.#rest = "";
      start = index + end.length;
    }
    this.#rest += text.slice(start);
    this.#checkLength();
    return messages;
  }

  #checkLength() {
    if (this.#length + this.#rest.length <= this.#limit) return;
    throw unreadable(`An event of the stream has more than ${this.#limit} characters.`);
  }

  #readLine(line, messages) {
    if (line === "") {
      const { type = "message", data = null, id = null } = this.#message;
      // An id without data is a position without an event.
      if (data !== null || id !== null) messages.push({ type, data: data && data.join("\n"), id });
      this.#message = {};
      this.#length = 0;
      return;
    }
    this.#length += line.length;
    this.#checkLength();
    const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (field === "data") (this.#message.data ??= []).push(value);
    else if (field === "event") this.#message.type = value || undefined;
    else if (field === "id" && !value.includes("\0")) this.#message.id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }
}
