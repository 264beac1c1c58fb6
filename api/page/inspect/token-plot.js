// The tokens of one job over time: what the API knows of the past, and what arrives while one looks.

import { now } from "./clock.js";
import { number, parseTime, plural, seconds } from "./format.js";
import { Plot } from "./plot.js";

const MOST = 240; // points
const TEXT = new Set(["content", "reasoning", "refusal", "tool_call_delta"]);

export class TokenPlot {
  #plot = new Plot({ title: "Tokens over time", format: number, series: [{ name: "tokens", class: "first" }] });
  #points = [];
  #job = null;
  #known = 0; // events up to this number are in the points that the API gave

  get element() {
    return this.#plot.element;
  }

  /** Takes the job as the API has it. */
  show(job) {
    const isOther = this.#job?.id !== job.id;
    this.#job = job;
    if (isOther || job.progress) {
      this.#points = [...(job.progress ?? [])];
      this.#known = job.last_seq;
    }
    this.draw();
  }

  /** Takes an event in; `count`: the numbers that it covers. */
  add({ type, seq }, count) {
    if (seq <= this.#known) return;
    if (type === "restarted") this.#points.push([this.#elapsed(), 0]);
    if (!TEXT.has(type)) return;
    this.#points.push([this.#elapsed(), (this.#points.at(-1)?.[1] ?? 0) + count]);
    if (this.#points.length > MOST) this.#points = this.#points.filter((_, index) => index % 2 || index === this.#points.length - 1);
  }

  /** What has come so far, and how fast since the attempt's first token; nulls while nothing is known. */
  get progress() {
    const restart = this.#points.findLastIndex(([, tokens]) => tokens === 0);
    const [first, last] = [this.#points[restart + 1], this.#points.at(-1)];
    if (!first || !last) return { count: null, rate: null };
    return { count: last[1], rate: last[0] > first[0] ? (last[1] - first[1]) / (last[0] - first[0]) : null };
  }

  draw() {
    const points = this.#points;
    const last = points.at(-1);
    const all = last ? [[0, 0], ...points] : [];
    this.#plot.set({
      x: all.map(([at]) => at),
      values: [all.map(([, tokens]) => tokens)],
      label: (index) => `after ${seconds(all[index][0])}`,
      from: "submitted",
      to: last ? seconds(last[0]) : "",
      now: last ? plural(last[1], "token") : "",
    });
  }

  #elapsed() {
    return Math.max(0, (now() - parseTime(this.#job.created_at)) / 1000);
  }
}
