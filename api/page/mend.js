// Markdown whose end is not there yet. Closes what is open and hides what may become something else with the next
// character, so that no marker flashes and no line jumps. Pure: no DOM.

/** A last line that is all marker so far: a rule, an underline, a list's bullet or number, a heading's hashes, a fence. */
const MAYBE = /^[ \t>]*(?:[-=*+_]+|\d{1,9}[.)]?|#{1,6}|[`~]{1,3}|\|)[ \t]*$/;
const TASK = /^([ \t>]*(?:[-*+]|\d{1,9}[.)]) )\[[ xX]?\]?$/;
const HALF_LINK = /!?\[([^\][\n]*)(?:\]\([^)\n]*)?$/;
const MARKER = /\\.|`+|\*{1,3}|~~/gs;
const MOST_OPEN = 8; // more are no emphasis
// "2*3" opens nothing.
const MAY_OPEN = /[\s\p{P}]/u;

/** Returns Markdown that shows the last block as it will most likely be. */
export function mend(raw, type) {
  const cut = raw.lastIndexOf("\n") + 1;
  const last = raw.slice(cut);
  if (type === "paragraph" && raw.startsWith("|") && cut) return mendTable(raw);
  if (MAYBE.test(last)) return raw.slice(0, cut);
  if (type === "paragraph" && raw.startsWith("|")) return mendTable(raw);
  if (type === "list" || type === "table") return raw.slice(0, cut) + mendInline(last.replace(TASK, "$1"));
  return mendInline(raw);
}

/** Completes the row of dashes, without which a table's head is a paragraph. */
function mendTable(raw) {
  const [head, dashes = "", ...more] = raw.split("\n");
  if (more.length || !/^[ \t|:-]*$/.test(dashes)) return raw;
  const cells = head.trimEnd().replace(/^\||\|$/g, "").split(/(?<!\\)\|/);
  return `|${cells.map((cell) => mendInline(cell) || " ").join("|")}|\n${"|---".repeat(cells.length)}|`;
}

function mendInline(text) {
  const { open, dangling } = scan(text);
  if (open.length > MOST_OPEN) return text;
  if (open.at(-1)?.startsWith("`")) return text + (text.endsWith(open.at(-1)) ? "" : open.at(-1));
  if (dangling) return mendInline(text.slice(0, -dangling));
  const whole = text.replace(HALF_LINK, "$1").trimEnd();
  return whole + open.reverse().join("");
}

/** Returns the markers that are open, and the length of a marker at the end that closes nothing. */
function scan(text) {
  const open = [];
  let dangling = 0;
  for (const { 0: marker, index } of text.matchAll(MARKER)) {
    const before = text[index - 1] ?? " ";
    const after = text[index + marker.length] ?? " ";
    const at = open.lastIndexOf(marker);
    const atEnd = index + marker.length === text.length;
    const inCode = open.at(-1)?.startsWith("`");
    if (marker.startsWith("\\") || (inCode && marker !== open.at(-1))) continue;
    if (at >= 0 && /\S/.test(before)) open.splice(at);
    else if (/\S/.test(after) && (MAY_OPEN.test(before) || marker !== "*")) open.push(marker);
    else if (atEnd) dangling = marker.length;
  }
  return { open, dangling };
}
