// The last hour, minute by minute. Read anew when something has changed, not by the clock.

import { getStats } from "./api.js";
import { $, h, reconcile, setHidden, setText } from "./dom.js";
import { number, NONE, parseTime, plural, rate, seconds, timeOfDay, visible } from "./format.js";
import { Plot } from "./plot.js";

const AT_MOST_EVERY = 10_000; // milliseconds between two reads

const p50p95 = [
  { name: "p50", class: "first" },
  { name: "p95", class: "second" },
];

export class StatsView {
  #plots = {
    jobs: new Plot({
      title: "Jobs a minute",
      kind: "bars",
      format: number,
      series: [
        { name: "done", class: "done" },
        { name: "failed", class: "failed" },
        { name: "cancelled", class: "cancelled" },
      ],
    }),
    tokens: new Plot({ title: "Tokens a second", format: rate, series: [{ name: "tokens a second", class: "first" }] }),
    first: new Plot({ title: "First token", format: seconds, series: p50p95 }),
    queue: new Plot({ title: "Time in the queue", format: seconds, series: p50p95 }),
  };
  #stats = null;
  #readAt = -Infinity;
  #timer = null;
  #isStale = false;
  #isReading = false;

  constructor() {
    $("plots").append(...Object.values(this.#plots).map((plot) => plot.element));
    $("numbers").addEventListener("toggle", () => this.#drawTable());
    document.addEventListener("visibilitychange", () => this.#schedule());
  }

  /** Something has changed: reads the numbers, now or when the last read is long enough ago. */
  changed() {
    this.#isStale = true;
    this.#schedule();
  }

  #schedule() {
    if (!this.#isStale || this.#timer || this.#isReading || document.hidden) return;
    this.#timer = setTimeout(() => this.#read(), Math.max(0, this.#readAt + AT_MOST_EVERY - performance.now()));
  }

  async #read() {
    this.#timer = null;
    this.#isStale = false;
    this.#isReading = true;
    this.#readAt = performance.now();
    try {
      this.#stats = await getStats();
      setHidden($("stats-problem"), true);
      this.#draw();
    } catch (problem) {
      // What is shown is the hour before: better than nothing, if it says so.
      setHidden($("stats-problem"), false);
      setText($("stats-problem"), `Not up to date: ${problem.message}`);
    } finally {
      this.#isReading = false;
      this.#schedule();
    }
  }

  #draw() {
    const { minutes, totals } = this.#stats;
    const x = minutes.map(({ at }) => parseTime(at) ?? 0);
    const shape = {
      x,
      label: (index) => timeOfDay(x[index]).slice(0, 5),
      from: x.length ? timeOfDay(x[0]).slice(0, 5) : "",
      to: "now",
    };
    const column = (pick) => minutes.map((minute) => pick(minute) ?? null);
    const ended = `${number(totals.done)} done, ${number(totals.failed)} failed`;
    this.#plots.jobs.set({
      ...shape,
      values: [column(({ done }) => done), column(({ failed }) => failed), column(({ cancelled }) => cancelled)],
      now: ended,
    });
    // The minute that runs would look like a fall.
    const rates = minutes.map(({ tokens }, index) => (index === minutes.length - 1 ? null : tokens / 60));
    this.#plots.tokens.set({ ...shape, values: [rates], now: `${number(totals.tokens)} tokens` });
    for (const [plot, field] of [["first", "time_to_first_token"], ["queue", "queue_seconds"]]) {
      const all = totals[field];
      this.#plots[plot].set({
        ...shape,
        values: [column((minute) => minute[field]?.p50), column((minute) => minute[field]?.p95)],
        now: all ? `p50 ${seconds(all.p50)}, p95 ${seconds(all.p95)}` : NONE,
      });
    }
    this.#drawErrors(totals.errors ?? {});
    this.#drawTable();
  }

  #drawErrors(errors) {
    const rows = Object.entries(errors).sort(([, a], [, b]) => b - a);
    setHidden($("no-errors"), Boolean(rows.length));
    reconcile($("errors"), rows, {
      key: ([code]) => code,
      make: () => h("li", {}, h("code"), h("span", { class: "number" })),
      update: (node, [code, count]) => {
        setText(node.firstElementChild, visible(code));
        setText(node.lastElementChild, plural(count, "job"));
      },
    });
  }

  #drawTable() {
    if (!this.#stats || !$("numbers").open) return;
    const cells = (minute) => [
      minute.submitted,
      minute.done,
      minute.failed,
      minute.cancelled,
      minute.tokens,
    ].map(number).concat([minute.time_to_first_token, minute.queue_seconds].flatMap((pair) => [seconds(pair?.p50), seconds(pair?.p95)]));
    const newest = [...this.#stats.minutes].reverse();
    reconcile($("minutes"), newest, {
      key: ({ at }) => at,
      make: ({ at }) => h("tr", {}, h("th", { scope: "row" }, timeOfDay(parseTime(at)).slice(0, 5)), Array.from({ length: 9 }, () => h("td", { class: "number" }))),
      update: (node, minute) => cells(minute).forEach((text, index) => setText(node.children[index + 1], text)),
    });
  }
}
