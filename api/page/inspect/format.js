// Numbers, sizes and durations as text.

const DIGITS = new Intl.NumberFormat("en");
const ONE_DIGIT = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const two = (number) => String(number).padStart(2, "0");

export const NONE = "–";

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

export const number = (value) => (isNumber(value) ? DIGITS.format(Math.round(value)) : NONE);

/** A rate: one digit after the point below 10. */
export const rate = (value) => (isNumber(value) ? (value < 10 ? ONE_DIGIT : DIGITS).format(value < 10 ? value : Math.round(value)) : NONE);

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** Seconds as measured: 412 ms, 3.2 s, 42 s, 12 min 05 s. */
export function seconds(value) {
  if (!isNumber(value)) return NONE;
  if (value > 0 && value < 0.00995) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 0.9995) return `${Math.max(0, Math.round(value * 1000))} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  return span(value);
}

/** Seconds that pass while one looks: 42 s, 12 min 05 s, 3 h 12 min, 2 d 4 h. */
export function span(value) {
  if (!isNumber(value)) return NONE;
  const whole = Math.max(0, Math.floor(value));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

export function bytes(value) {
  if (!isNumber(value)) return NONE;
  if (value < 1000) return `${value} B`;
  const units = ["kB", "MB", "GB", "TB", "PB"];
  let size = value;
  let unit = -1;
  do {
    size /= 1000;
    unit += 1;
  } while (size >= 999.5 && unit < units.length - 1);
  return `${rate(size)} ${units[unit]}`;
}

export function money(amount, currency) {
  if (!isNumber(amount)) return NONE;
  return `${amount.toFixed(amount < 1 ? 6 : 2).replace(/(\.\d\d\d*?)0+$/, "$1")} ${currency ?? ""}`.trim();
}

/** The time of day where the reader is: 12:03:07. */
export function timeOfDay(ms) {
  const date = new Date(ms);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Date and time for both the reader and a log file, whose lines are in UTC. */
export function fullTime(ms) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return NONE;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${timeOfDay(ms)} here, ${date.toISOString().replace("T", " ")} UTC`.replace("Z UTC", " UTC");
}

/** Milliseconds of an RFC 3339 time; null for none. */
export function parseTime(text) {
  const ms = Date.parse(text ?? "");
  return Number.isNaN(ms) ? null : ms;
}

/** Returns the text with its control characters, and those that turn the direction of writing, made visible. */
export const visible = (text) =>
  String(text ?? "").replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "�");
