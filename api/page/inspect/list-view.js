// The list of jobs: filters, rows, and new jobs that do not push away the row under the pointer.

import { hrefOf, isJobId } from "./api.js";
import { now, setSince, setStill, since } from "./clock.js";
import { $, h, setAttribute, setHidden, setText } from "./dom.js";
import { NONE, number, parseTime, plural, rate, seconds, span, visible } from "./format.js";
import { AGES, ENDED, FILTERS, JobList, pairOf } from "./job-list.js";
import { VirtualRows } from "./virtual-rows.js";

const EVERY = 250; // milliseconds between two drawings while jobs come
const TYPED = 300; // milliseconds after the last key until a filter is used
const SHORTEST = 4; // characters of an id's beginning that the API takes

/** Tokens of a job so far, as well as the list knows: the model's count, or the number of chunks. */
const tokensOf = (job) => job.usage?.completion_tokens ?? job.metrics?.completion_tokens ?? job.metrics?.chunk_count ?? null;

export class ListView {
  #list;
  #rows;
  #scroller = $("job-scroller");
  #timer = null;
  #typed = null;
  #held = null; // the ids that were shown when the pointer or the focus came, and the jobs as they were
  #stuck = new Set();
  #models = new Set();
  #onFilter;

  /** `read(path)` gets JSON of the API; `onFilter(filters)` is called when the reader has chosen others. */
  constructor({ read, onFilter }) {
    this.#onFilter = onFilter;
    this.#list = new JobList({
      read,
      now,
      onChange: () => this.#schedule(),
      mayTrim: () => this.#scroller.scrollTop === 0,
    });
    this.#rows = new VirtualRows(this.#scroller, $("job-rows"), {
      key: ({ id }) => id,
      make: makeRow,
      update: (node, job) => updateRow(node, job, this.#stuck.has(job.id)),
      onEnd: () => this.#list.more(),
    });
    this.#listenToFilters();
    this.#listenToReader();
    $("retry-list").addEventListener("click", () => this.#list.retry());
    setInterval(() => document.hidden || this.#list.tick(), 5000);
  }

  /** Shows the jobs of these filters. */
  open(filters) {
    this.#showFilters(filters);
    const same = FILTERS.every((name) => (filters[name] ?? "") === (this.#list.filters[name] ?? ""));
    if (same && this.#list.isLoaded) return this.#draw();
    this.#held = null;
    this.#scroller.scrollTop = 0;
    this.#list.open(filters);
  }

  apply(job) {
    this.#addModel(job.model);
    this.#list.apply(job);
  }

  erase(id) {
    this.#list.erase(id);
  }

  reload() {
    this.#list.reload();
  }

  /** Redis answers: a page of the list that did not come is asked for again. */
  retry() {
    if (this.#list.problem?.retryable && !this.#list.isLoading) this.#list.retry();
  }

  /** Marks the jobs that a finding names. */
  markStuck(ids) {
    if (ids.length === this.#stuck.size && ids.every((id) => this.#stuck.has(id))) return;
    this.#stuck = new Set(ids);
    this.#rows.refresh();
  }

  /** Draws at most four times a second: a list that changes with each job cannot be read. */
  #schedule() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#draw();
    }, EVERY);
  }

  #draw() {
    const { jobs, isLoading, isComplete, isLoaded, problem, filters } = this.#list;
    for (const job of jobs.slice(0, 200)) this.#addModel(job.model);
    const shown = this.#held ? this.#heldJobs(jobs) : jobs;
    this.#rows.setItems([...shown]);
    this.#rows.refresh();
    const fresh = this.#held ? jobs.length - jobs.filter(({ id }) => this.#held.has(id)).length : 0;
    setHidden($("fresh"), !fresh);
    setText($("fresh"), `${plural(fresh, "new job")}, shown when you leave the list`);
    setAttribute($("job-table"), "aria-rowcount", isComplete ? shown.length + 1 : -1);
    setAttribute($("job-table"), "aria-busy", isLoading);
    setHidden($("empty"), !isLoaded || shown.length > 0 || isLoading || !!problem);
    const isFiltered = FILTERS.some((name) => filters[name]);
    setText($("empty"), isFiltered ? "No job has these properties." : "There are no jobs yet. The next one appears here by itself.");
    setHidden($("list-problem"), !problem);
    if (problem) setText($("list-problem-text"), problem.message);
    const loaded = isComplete ? plural(shown.length, "job") : `the newest ${number(shown.length)}`;
    setText($("loaded"), isLoaded ? loaded : "loading …");
  }

  // New jobs wait while a row is pointed at or has the focus

  #listenToReader() {
    const rows = $("job-rows");
    const update = () => {
      const isReading = rows.matches(":hover") || rows.contains(document.activeElement);
      if (isReading === Boolean(this.#held)) return;
      this.#held = isReading ? new Map(this.#list.jobs.map((job) => [job.id, job])) : null;
      this.#draw();
    };
    // A finger has no place before it touches.
    rows.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && update());
    rows.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && update());
    rows.addEventListener("focusin", update);
    rows.addEventListener("focusout", () => setTimeout(update));
  }

  /** The rows that were there, as they are now, and older ones that have been loaded since. */
  #heldJobs(jobs) {
    const current = new Map(jobs.map((job) => [job.id, job]));
    const held = Array.from(this.#held.values(), (job) => current.get(job.id) ?? { ...job, isGone: true });
    const last = held.at(-1);
    const older = last ? jobs.filter((job) => !this.#held.has(job.id) && job.created < last.created) : [];
    for (const job of older) this.#held.set(job.id, job);
    return [...held, ...older];
  }

  // Filters

  #listenToFilters() {
    for (const [name, { label }] of Object.entries(AGES)) $("age").append(h("option", { value: name }, label));
    for (const input of [$("model"), $("metadata"), $("search")]) {
      input.addEventListener("input", () => {
        clearTimeout(this.#typed);
        this.#typed = setTimeout(() => this.#changed(), TYPED);
      });
    }
    $("age").addEventListener("change", () => this.#changed());
    $("filters").addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(this.#typed);
      const id = $("search").value.trim();
      // A whole id: most people paste one to see that job.
      if (isJobId(id)) location.hash = hrefOf(id);
      else this.#changed();
    });
    for (const button of $("states").querySelectorAll("button")) {
      button.addEventListener("click", () => this.#changed({ status: button.value }));
    }
    $("clear").addEventListener("click", () => this.#onFilter({}));
  }

  #changed(more = {}) {
    const filters = { status: this.#list.filters.status ?? "", ...more };
    filters.model = $("model").value.trim();
    filters.age = $("age").value;
    const metadata = $("metadata").value.trim();
    const id = $("search").value.trim();
    filters.metadata = metadata;
    filters.id = id;
    setText($("metadata-note"), metadata && !pairOf(metadata) ? "key=value, such as tenant=acme" : "");
    setText($("search-note"), id && id.length < SHORTEST ? `${SHORTEST} characters at least` : "");
    if (!pairOf(metadata)) filters.metadata = "";
    if (id.length < SHORTEST) filters.id = "";
    this.#onFilter(filters);
  }

  #showFilters(filters) {
    for (const button of $("states").querySelectorAll("button")) {
      setAttribute(button, "aria-pressed", String(button.value === (filters.status ?? "")));
    }
    const boxes = { model: $("model"), age: $("age"), metadata: $("metadata"), id: $("search") };
    for (const [name, box] of Object.entries(boxes)) {
      // What is being typed stays.
      if (box !== document.activeElement && box.value !== (filters[name] ?? "")) box.value = filters[name] ?? "";
    }
    setHidden($("clear"), !FILTERS.some((name) => filters[name]));
  }

  #addModel(model) {
    if (this.#models.has(model) || this.#models.size >= 100) return;
    this.#models.add(model);
    $("models").append(h("option", { value: model }));
  }
}

// A row

function makeRow(job) {
  const cell = (name, ...children) => h("span", { role: "cell", class: `c-${name}` }, ...children);
  const parts = {
    state: h("span", { class: "state" }),
    link: h("a", { class: "mono", href: hrefOf(job.id) }, job.id),
    model: cell("model"),
    age: since(null),
    took: since(null),
    first: cell("first"),
    tokens: cell("tokens"),
    rate: cell("rate"),
    note: cell("note"),
  };
  const node = h(
    "div",
    { role: "row", class: "row" },
    cell("state", parts.state),
    cell("id", parts.link),
    parts.model,
    cell("age", parts.age),
    cell("took", parts.took),
    parts.first,
    parts.tokens,
    parts.rate,
    parts.note,
  );
  node.parts = parts;
  // The whole row is a target; a selection of text is no click.
  node.addEventListener("click", (event) => {
    if (event.target.closest("a") || String(getSelection())) return;
    parts.link.click();
  });
  return node;
}

function updateRow(node, job, isStuck) {
  const { parts } = node;
  setAttribute(node, "data-id", job.id);
  setAttribute(node, "data-stuck", isStuck);
  setAttribute(node, "data-gone", Boolean(job.isGone));
  setAttribute(parts.state, "data-state", job.isGone ? "gone" : job.status);
  setText(parts.state, job.isGone ? "gone" : job.status);
  setText(parts.model, visible(job.model));
  setAttribute(parts.model, "title", visible(job.model));
  setSince(parts.age, job.created_at);
  if (ENDED.has(job.status)) setStill(parts.took, tookOf(job), "from submit to end");
  else setSince(parts.took, job.status === "running" ? (job.started_at ?? job.created_at) : job.created_at);
  setText(parts.first, seconds(job.metrics?.time_to_first_token));
  setText(parts.tokens, number(tokensOf(job)));
  setText(parts.rate, rate(job.metrics?.tokens_per_second));
  setText(parts.note, noteOf(job, isStuck));
}

function tookOf(job) {
  const total = job.metrics?.total_seconds;
  if (typeof total === "number") return seconds(total);
  const [from, to] = [parseTime(job.created_at), parseTime(job.ended_at)];
  return from === null || to === null ? NONE : span((to - from) / 1000);
}

function noteOf(job, isStuck) {
  const notes = [];
  if (isStuck) notes.push("⚠ see above");
  if (job.error?.code) notes.push(visible(job.error.code));
  if (job.attempt > 1) notes.push(`attempt ${job.attempt}`);
  if (job.status === "running" && job.worker?.host) notes.push(visible(job.worker.host));
  return notes.join(" · ");
}
