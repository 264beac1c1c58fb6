// The rate of the text, and how numbers are shown. Pure: callers pass the time in milliseconds.

const WINDOW = 4000;
const STEP = 100;
// Events may be merged, so their number is no measure. A token has about four characters.
const CHARACTERS_PER_TOKEN = 4;

/** The rate of the last four seconds, in bounded memory. */
export class Rate {
  #since = null;
  #steps = [];

  add(now, characters) {
    this.#since ??= now;
    const step = Math.floor(now / STEP);
    const last = this.#steps.at(-1);
    if (last?.step === step) last.characters += characters;
    else this.#steps.push({ step, characters });
    this.#forget(now);
  }

  /** Returns tokens per second, roughly; null during the first half second. */
  read(now) {
    if (this.#since === null || now - this.#since < 500) return null;
    this.#forget(now);
    const characters = this.#steps.reduce((sum, each) => sum + each.characters, 0);
    return characters / CHARACTERS_PER_TOKEN / (Math.min(WINDOW, now - this.#since) / 1000);
  }

  #forget(now) {
    const first = Math.floor((now - WINDOW) / STEP);
    while (this.#steps.length && this.#steps[0].step < first) this.#steps.shift();
  }
}

export function formatSeconds(value) {
  if (value == null) return "–";
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(value < 10 ? 2 : 1)} s`;
}

export function formatRate(value) {
  if (value == null) return "–";
  return value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en");
}
