// How fast it comes, and how numbers are shown. Pure: whoever calls says what time it is (milliseconds).

const WINDOW = 4000;
const STEP = 100;
// Events may come merged, so that their number is no measure; four characters are about one token.
const CHARACTERS_A_TOKEN = 4;

/** The rate of the last four seconds. Memory is bounded, however fast the model is. */
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

  /** Tokens a second, about; null before half a second of text. */
  read(now) {
    if (this.#since === null || now - this.#since < 500) return null;
    this.#forget(now);
    const characters = this.#steps.reduce((sum, each) => sum + each.characters, 0);
    return characters / CHARACTERS_A_TOKEN / (Math.min(WINDOW, now - this.#since) / 1000);
  }

  #forget(now) {
    const first = Math.floor((now - WINDOW) / STEP);
    while (this.#steps.length && this.#steps[0].step < first) this.#steps.shift();
  }
}

export function seconds(value) {
  if (value == null) return "–";
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(value < 10 ? 2 : 1)} s`;
}

export function perSecond(value) {
  if (value == null) return "–";
  return value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en");
}

/** Milliseconds before try number `tries` (0, 1, …): half a second, doubling up to eight, spread out. */
export function backOff(tries, random = Math.random()) {
  return Math.min(8000, 500 * 2 ** tries) * (0.75 + random / 2);
}
