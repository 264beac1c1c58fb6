// The jobs of the list: pages from the API, and changes as they come.

import { parseTime } from "./format.js";

const PAGE = 100; // jobs of one request
const MOST = 5000; // jobs kept as new ones come; older ones are loaded again when one scrolls there
const OLDER_EVERY = 60_000; // milliseconds after which jobs may have become older than the filter says

/** The filters in an address, without empty ones. Names as in the API's list, `age` and `metadata` besides. */
export const FILTERS = ["status", "model", "age", "metadata", "id"];

/** Ages to choose from: at most, or (with `older`) at least so many seconds. */
export const AGES = {
  "5m": { seconds: 300, label: "last 5 minutes" },
  "1h": { seconds: 3600, label: "last hour" },
  "1d": { seconds: 86_400, label: "last day" },
  "older-5m": { seconds: 300, older: true, label: "older than 5 minutes" },
  "older-1h": { seconds: 3600, older: true, label: "older than an hour" },
  "older-1d": { seconds: 86_400, older: true, label: "older than a day" },
};

export const ENDED = new Set(["done", "failed", "cancelled"]);

/** Splits `key=value`; null if it is no pair. */
export function pairOf(text) {
  const [, key, value] = /^\s*([^=]+?)\s*=(.*)$/s.exec(text ?? "") ?? [];
  return key === undefined ? null : [key, value.trim()];
}

/** Returns the query of the API's list. `now`: milliseconds at the server. */
function queryOf(filters, now) {
  const query = new URLSearchParams();
  for (const name of ["status", "model", "id"]) if (filters[name]) query.set(name, filters[name]);
  const pair = pairOf(filters.metadata);
  if (pair) query.set(`metadata.${pair[0]}`, pair[1]);
  const age = AGES[filters.age];
  if (age) query.set(age.older ? "created_before" : "created_after", String(Math.round(now - age.seconds * 1000)));
  return query;
}

/** Whether the list with these filters shows the job. */
export function matches(job, filters, now) {
  const pair = pairOf(filters.metadata);
  const age = AGES[filters.age];
  const old = (now - parseTime(job.created_at)) / 1000;
  const value = pair && job.metadata?.[pair[0]];
  return (
    (!filters.status || job.status === filters.status) &&
    (!filters.model || job.model === filters.model) &&
    (!filters.id || job.id.startsWith(filters.id)) &&
    (!pair || (typeof value === "string" ? value : JSON.stringify(value)) === pair[1]) &&
    (!age || (age.older ? old > age.seconds : old <= age.seconds))
  );
}

/** Whether `a` tells a later state of a job than `b`. A page may be read before a change and come after it. */
export function isNewer(a, b) {
  const rank = (job) => [ENDED.has(job.status) ? 2 : job.status === "running" ? 1 : 0, job.attempt, job.last_seq];
  const [left, right] = [rank(a), rank(b)];
  const differs = left.findIndex((part, index) => part !== right[index]);
  return differs < 0 || left[differs] > right[differs];
}

/** What the list needs of a job: 100,000 jobs with their texts would fill the memory. */
function lean(job) {
  const { id, status, model, attempt, worker, last_seq, created_at, started_at, ended_at, last_event_at } = job;
  const { error, usage, metrics, metadata } = job;
  const created = parseTime(created_at) ?? 0;
  const kept = { id, status, model, attempt, worker, last_seq, created_at, started_at, ended_at, last_event_at };
  return { ...kept, error: error?.code ? { code: error.code } : null, usage, metrics, metadata, created };
}

const isBefore = (a, b) => a.created > b.created || (a.created === b.created && a.id > b.id);

export class JobList {
  jobs = []; // newest first
  problem = null; // why the last page did not come
  isLoading = false;
  isComplete = false;
  #byId = new Map();
  #erased = new Set(); // since the load began: a page that was read before may still have them
  #inserted = new Set(); // since then: it may not have these
  #loadedAt = 0;
  #next = null;
  #generation = 0;
  #read;
  #now;
  #onChange;
  #mayTrim;

  /**
   * `read(path)` gets JSON of the API, `now()` is the server's time, `onChange()` is called after each change,
   * `mayTrim()` says whether the oldest jobs are out of view.
   */
  constructor({ read, now, onChange, mayTrim = () => true }) {
    this.#read = read;
    this.#now = now;
    this.#onChange = onChange;
    this.#mayTrim = mayTrim;
  }

  filters = {};

  /** Whether a first page has come. */
  isLoaded = false;

  /** Loads the list with other filters. */
  open(filters) {
    this.filters = filters;
    this.#generation += 1;
    this.isLoaded = false;
    this.#replace([], null);
    return this.#load(this.#first(), { atLeast: 1 });
  }

  /** Loads anew as many jobs as there are, and shows them at once: the page does not flicker after a reconnect. */
  reload() {
    this.#generation += 1;
    return this.#load(this.#first(), { atLeast: Math.min(1000, Math.max(1, this.jobs.length)), anew: true });
  }

  /** Loads the next page, if there is one. */
  more() {
    if (this.isLoading || this.isComplete || this.problem || !this.#next) return null;
    return this.#load(this.#next, { atLeast: 1 });
  }

  retry() {
    this.problem = null;
    return this.#next && this.isLoaded ? this.more() : this.reload();
  }

  /** Takes a job in as it is now. */
  apply(job) {
    const known = this.#byId.get(job.id);
    if (known && !isNewer(job, known)) return;
    const fits = matches(job, this.filters, this.#now());
    if (known && !fits) this.#remove(known);
    else if (known) Object.assign(known, lean(job));
    else if (fits && this.#belongs(lean(job))) {
      this.#insert(lean(job));
      if (this.isLoading) this.#inserted.add(job.id);
      this.#trim();
    } else return;
    this.#onChange();
  }

  erase(id) {
    if (this.isLoading) this.#erased.add(id);
    const known = this.#byId.get(id);
    if (!known) return;
    this.#remove(known);
    this.#onChange();
  }

  /** Time has passed: jobs leave a list of the last minutes, or enter one of old jobs. */
  tick() {
    const age = AGES[this.filters.age];
    if (!age || this.isLoading || !this.isLoaded) return;
    if (age.older) return this.#now() - this.#loadedAt > OLDER_EVERY ? void this.reload() : undefined;
    const oldest = this.#now() - age.seconds * 1000;
    const before = this.jobs.length;
    while (this.jobs.length && this.jobs.at(-1).created < oldest) this.#byId.delete(this.jobs.pop().id);
    if (this.jobs.length !== before) this.#onChange();
  }

  #first(before = null) {
    const query = queryOf(this.filters, this.#now());
    query.set("limit", String(PAGE));
    if (before !== null) query.set("created_before", String(before));
    return `v1/jobs?${query}`;
  }

  async #load(path, { atLeast, anew = false }) {
    const mine = this.#generation;
    this.isLoading = true;
    this.problem = null;
    this.#erased.clear();
    this.#inserted.clear();
    this.#loadedAt = this.#now();
    this.#onChange();
    const found = [];
    let next = path;
    try {
      // A page may be empty and have a next one: the API examines so many jobs at a time.
      do {
        const page = await this.#read(next);
        if (mine !== this.#generation) return;
        found.push(...page.jobs.map(lean));
        next = page.next && `v1/jobs${page.next.slice(page.next.indexOf("?"))}`;
      } while (next && found.length < atLeast);
    } catch (problem) {
      if (mine !== this.#generation) return;
      this.problem = problem;
      this.isLoading = false;
      return this.#onChange();
    }
    this.isLoading = false;
    this.isLoaded = true;
    const alive = found.filter(({ id }) => !this.#erased.has(id));
    if (anew) this.#replace(this.#merged(alive), next);
    else {
      this.#next = next;
      this.isComplete = !next;
      for (const job of alive) {
        const known = this.#byId.get(job.id);
        if (!known) this.#insert(job);
        else if (isNewer(job, known)) Object.assign(known, job);
      }
    }
    this.#onChange();
  }

  /** Returns the jobs of a load, each as new as it is known, and those that came while it ran. */
  #merged(found) {
    const merged = found.map((job) => {
      const known = this.#byId.get(job.id);
      return known && !isNewer(job, known) ? known : job;
    });
    const ids = new Set(found.map(({ id }) => id));
    const came = this.jobs.filter(({ id }) => this.#inserted.has(id) && !ids.has(id));
    return [...came, ...merged].sort((a, b) => (isBefore(a, b) ? -1 : 1));
  }

  #replace(jobs, next) {
    this.jobs = jobs;
    this.#byId = new Map(jobs.map((job) => [job.id, job]));
    this.#next = next;
    this.isComplete = this.isLoaded && !next;
  }

  /** Whether a job that is not here has its place among those that are loaded. */
  #belongs(job) {
    return this.isComplete || !this.jobs.length || isBefore(job, this.jobs.at(-1));
  }

  #insert(job) {
    let low = 0;
    let high = this.jobs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (isBefore(this.jobs[middle], job)) low = middle + 1;
      else high = middle;
    }
    this.jobs.splice(low, 0, job);
    this.#byId.set(job.id, job);
  }

  #remove(job) {
    this.jobs.splice(this.jobs.indexOf(job), 1);
    this.#byId.delete(job.id);
  }

  /** Lets the oldest go when there are too many; they are read again when one scrolls there. */
  #trim() {
    if (this.jobs.length <= MOST || !this.#mayTrim()) return;
    for (const job of this.jobs.splice(MOST / 2)) this.#byId.delete(job.id);
    this.#next = this.#first(this.jobs.at(-1).created + 1);
    this.isComplete = false;
  }
}
