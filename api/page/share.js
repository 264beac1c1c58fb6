// The link of an answer, as text and as a QR code, and how many read along.

import { copy } from "./clipboard.js";
import { $, setText } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const QUIET_ZONE = 4; // modules of light around the code, without which phones do not find it

export class Sharing {
  constructor() {
    $("share").addEventListener("click", () => this.#open());
    $("sharing-close").addEventListener("click", () => $("sharing").close());
    $("link").addEventListener("focus", () => $("link").select());
    $("copy").addEventListener("click", () => this.#copy());
  }

  /** Shows how many read along; null if that is not known. One reader is this page. */
  showReaders(count) {
    setText($("readers"), count > 1 ? `${count} reading along` : "");
    setText($("sharing-readers"), count > 1 ? `${count} read along, this page included.` : "");
  }

  async #open() {
    const link = location.href;
    $("link").value = link;
    $("local").hidden = !/^(localhost|127\.|\[::1\])/.test(location.hostname);
    $("qr").replaceChildren();
    $("sharing").showModal();
    $("copy").focus();
    const { qrcode } = await import("./vendor/qrcode.mjs");
    $("qr").replaceChildren(draw(qrcode, link));
  }

  async #copy() {
    $("link").select();
    const done = await copy($("link").value, $("sharing"));
    setText($("copy"), done ? "Copied" : "Press Ctrl+C");
    setTimeout(() => setText($("copy"), "Copy link"), 2000);
  }
}

function draw(qrcode, text) {
  const code = qrcode(0, "M");
  code.addData(text);
  code.make();
  const size = code.getModuleCount();
  let dark = "";
  for (let row = 0; row < size; row += 1) {
    for (let column = 0; column < size; column += 1) {
      if (code.isDark(row, column)) dark += `M${column} ${row}h1v1h-1z`;
    }
  }
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", [-QUIET_ZONE, -QUIET_ZONE, size + 2 * QUIET_ZONE, size + 2 * QUIET_ZONE].join(" "));
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", "QR code of the link");
  picture.setAttribute("shape-rendering", "crispEdges");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", dark);
  picture.append(path);
  return picture;
}
