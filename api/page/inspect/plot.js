// A small plot: lines or stacked bars over a common x, with a reading under the pointer.

import { h, setAttribute, setHidden, setText, svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 72;

/** The next of 1, 2, 5, 10, 20, … : the scale changes seldom, and its label is a round number. */
function niceMaximum(value) {
  if (!(value > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * unit >= value * 0.999999) * unit;
}

/** The path of a line; a missing value is a gap, and a value between two gaps a dot. */
function linePath(values, x, y) {
  let path = "";
  let isOpen = false;
  values.forEach((value, index) => {
    if (value === null) {
      isOpen = false;
      return;
    }
    const place = `${x(index).toFixed(2)} ${y(value).toFixed(2)}`;
    const isAlone = !isOpen && (values[index + 1] ?? null) === null;
    path += isOpen ? `L${place}` : `M${place}${isAlone ? "h.01" : ""}`;
    isOpen = true;
  });
  return path;
}

export class Plot {
  element;
  #kind;
  #series;
  #format;
  #data = { x: [], values: [], label: () => "" };
  #value = h("span", { class: "plot-value" });
  #most = h("span", { class: "plot-most" });
  #from = h("span");
  #to = h("span");
  #empty = h("p", { class: "plot-empty soft" }, "nothing yet");
  #cursor = svg("line", { class: "plot-cursor", y1: 0, y2: HEIGHT, "vector-effect": "non-scaling-stroke", hidden: true });
  #shapes;
  #svg;
  #reading = null; // index under the pointer

  /**
   * `series`: [{ name, class }]. `kind`: `bars` (stacked) or `lines`. `format(value)` for people. A missing value is
   * null.
   */
  constructor({ title, series, kind = "lines", format }) {
    this.#kind = kind;
    this.#series = series;
    this.#format = format;
    this.#shapes = series.map((each) => svg("path", { class: `${kind} ${each.class}`, "vector-effect": "non-scaling-stroke" }));
    const frame = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" };
    this.#svg = svg("svg", frame, svg("line", { class: "plot-base", x2: WIDTH, y1: HEIGHT, y2: HEIGHT }), this.#shapes, this.#cursor);
    const legend = series.length > 1 && h("span", { class: "legend" }, series.map((each) => h("span", { class: each.class }, each.name)));
    this.element = h(
      "figure",
      { class: "plot" },
      h("figcaption", {}, h("span", { class: "plot-title" }, title), this.#value),
      h("div", { class: "plot-area" }, this.#svg, this.#most, this.#empty),
      h("div", { class: "plot-axis" }, this.#from, legend, this.#to),
    );
    this.#svg.addEventListener("pointermove", (event) => this.#read(event));
    this.#svg.addEventListener("pointerdown", (event) => this.#read(event));
    this.#svg.addEventListener("pointerleave", () => this.#stopReading());
  }

  /**
   * `x`: places, growing; `values`: for each series one value a place; `label(index)`: the place for people; `from`,
   * `to`: the ends of the axis; `now`: what the plot says when nothing is pointed at.
   */
  set({ x, values, label, from, to, now }) {
    this.#data = { x, values, label, now };
    setText(this.#from, from);
    setText(this.#to, to);
    const isBars = this.#kind === "bars";
    const totals = x.map((_, index) => {
      const here = values.map((row) => row[index] ?? 0);
      return isBars ? here.reduce((sum, value) => sum + value, 0) : Math.max(...here);
    });
    const peak = Math.max(0, ...totals);
    const most = niceMaximum(peak);
    const y = (value) => HEIGHT - (value / most) * (HEIGHT - 4);
    if (isBars) this.#drawBars(values, y);
    else values.forEach((row, index) => setAttribute(this.#shapes[index], "d", linePath(row, this.#x, y)));
    setText(this.#most, peak > 0 ? this.#format(most) : "");
    setHidden(this.#empty, values.some((row) => row.some((value) => value !== null && (value > 0 || !isBars))));
    const title = this.element.querySelector(".plot-title").textContent;
    setAttribute(this.#svg, "aria-label", `${title}: ${now}, at most ${this.#format(peak)}`);
    this.#showValue();
  }

  /** The place of a value: bars have a width each, lines go from edge to edge. */
  #x = (index) => {
    const { x } = this.#data;
    if (this.#kind === "bars") return (index * WIDTH) / x.length;
    const [first, last] = [x[0], x[x.length - 1]];
    return last > first ? ((x[index] - first) / (last - first)) * WIDTH : 0;
  };

  #drawBars(values, y) {
    const count = this.#data.x.length;
    const width = count ? WIDTH / count : 0;
    const heights = new Array(count).fill(0);
    values.forEach((row, series) => {
      let path = "";
      row.forEach((value, index) => {
        if (!value) return;
        const bottom = y(heights[index]);
        heights[index] += value;
        const left = (index * width + width * 0.1).toFixed(2);
        path += `M${left} ${bottom.toFixed(2)}V${y(heights[index]).toFixed(2)}h${(width * 0.8).toFixed(2)}V${bottom.toFixed(2)}z`;
      });
      setAttribute(this.#shapes[series], "d", path);
    });
  }

  #read(event) {
    const { x } = this.#data;
    if (!x.length) return;
    const box = this.#svg.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * WIDTH;
    const width = this.#kind === "bars" ? WIDTH / x.length : 0;
    let best = 0;
    for (let index = 1; index < x.length; index += 1) {
      if (Math.abs(this.#x(index) + width / 2 - place) < Math.abs(this.#x(best) + width / 2 - place)) best = index;
    }
    this.#reading = best;
    const at = this.#x(best) + width / 2;
    setAttribute(this.#cursor, "x1", at);
    setAttribute(this.#cursor, "x2", at);
    setAttribute(this.#cursor, "hidden", false);
    this.#showValue();
  }

  #stopReading() {
    this.#reading = null;
    setAttribute(this.#cursor, "hidden", true);
    this.#showValue();
  }

  #showValue() {
    const { x, values, label, now } = this.#data;
    const index = this.#reading;
    if (index === null || index >= x.length) return setText(this.#value, now ?? "");
    const parts = this.#series.map(({ name }, series) => {
      const value = values[series][index];
      const text = value === null || value === undefined ? "–" : this.#format(value);
      return this.#series.length > 1 ? `${name} ${text}` : text;
    });
    setText(this.#value, `${label(index)}  ${parts.join(", ")}`);
  }
}
