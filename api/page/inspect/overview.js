// Queue, workers and Redis in numbers, and the workers one by one.

import { hrefOf, isJobId } from "./api.js";
import { setSince, setStill, since } from "./clock.js";
import { $, h, reconcile, setAttribute, setHidden, setText } from "./dom.js";
import { bytes, NONE, number, parseTime, seconds, visible } from "./format.js";

const MOST_RUNNING = 20; // jobs of a worker that are named

const REDIS_WORDS = {
  ok: "answers",
  away: "away",
  loading: "loading",
  full: "full",
  read_only: "read only",
  refusing: "refuses writes",
};

/** Draws what /v1/status says, but its findings. */
export function drawStatus(status) {
  const { queue, jobs, workers, redis } = status;
  drawQueue(queue, parseTime(status.now));
  const alive = (workers ?? []).filter((worker) => worker.alive);
  const slots = alive.reduce((sum, worker) => sum + (worker.slots ?? 0), 0);
  const busy = alive.reduce((sum, worker) => sum + (worker.running?.length ?? 0), 0);
  setText($("running"), workers ? `${number(busy)} of ${number(slots)}` : NONE);
  setText($("running-note"), workers ? "slots busy" : "");
  setText($("alive"), workers ? number(alive.length) : NONE);
  const refused = alive.filter((worker) => worker.refused).length;
  setText($("alive-note"), refused ? `${number(refused)} refused by the model` : workers ? "alive" : "");
  drawRedis(redis ?? {});
  for (const state of ["queued", "running", "done", "failed", "cancelled"]) {
    setText($(`count-${state}`), jobs ? number(jobs[state]) : "");
  }
  drawWorkers(workers ?? [], status);
}

function drawQueue(queue, at) {
  setText($("queued"), queue ? number(queue.length) : NONE);
  const wait = queue?.oldest_wait_seconds;
  if (typeof wait === "number" && at !== null) setSince($("oldest"), at - wait * 1000, " the longest wait");
  else setStill($("oldest"), queue ? "none waits" : "");
}

function drawRedis(redis) {
  setText($("redis"), REDIS_WORDS[redis.state] ?? visible(redis.state ?? NONE));
  setAttribute($("redis"), "data-bad", redis.state !== "ok");
  const used = redis.used_memory_bytes;
  const most = redis.maxmemory_bytes;
  const memory = typeof used === "number" ? `${bytes(used)}${most ? ` of ${bytes(most)}` : ""}` : "";
  const took = redis.round_trip_seconds;
  const trip = typeof took === "number" ? `${took < 0.001 ? "under 1 ms" : seconds(took)} a round trip` : "";
  setText($("redis-note"), [memory, trip].filter(Boolean).join(", "));
  const saves = Object.entries(redis.persistence ?? {}).filter(([, on]) => on).map(([name]) => name.toUpperCase());
  const more = [redis.version && `version ${redis.version}`, redis.maxmemory_policy, saves.join(" and ") || "not persistent"];
  setAttribute($("redis-note"), "title", redis.state === "away" ? null : visible(more.filter(Boolean).join(", ")));
}

// Workers

function drawWorkers(workers, status) {
  setHidden($("workers-table"), !workers.length);
  setHidden($("no-workers"), Boolean(workers.length));
  setText($("no-workers"), status.redis?.state === "away" ? "Unknown while Redis is away." : "No worker is alive.");
  // The dead first: they are what one looks for.
  const order = [...workers].sort((a, b) => Number(a.alive) - Number(b.alive) || String(a.id).localeCompare(String(b.id)));
  reconcile($("workers"), order, { key: ({ id }) => id, make: makeWorker, update: updateWorker });
}

function makeWorker() {
  const parts = {
    name: h("span", { class: "mono" }),
    note: h("span", { class: "soft" }),
    state: h("span", { class: "state" }),
    slots: h("td", { class: "number" }),
    running: h("span"),
    more: h("span", { class: "soft" }),
    lag: h("td", { class: "number" }),
    seen: since(null),
    up: since(null),
  };
  const node = h(
    "tr",
    {},
    h("th", { scope: "row" }, parts.name, h("br"), parts.note),
    h("td", {}, parts.state),
    parts.slots,
    h("td", { class: "chips" }, parts.running, parts.more),
    parts.lag,
    h("td", { class: "number" }, parts.seen),
    h("td", { class: "number" }, parts.up),
  );
  node.parts = parts;
  return node;
}

function updateWorker(node, worker) {
  const { parts } = node;
  const running = worker.running ?? [];
  setText(parts.name, visible(worker.host ?? worker.id));
  setText(parts.note, visible([worker.pid && `pid ${worker.pid}`, worker.version].filter(Boolean).join(", ")));
  setAttribute(parts.name, "title", visible(worker.id));
  const state = !worker.alive ? "dead" : worker.refused ? "refused" : running.length ? "running" : "idle";
  setAttribute(parts.state, "data-state", state);
  setText(parts.state, state === "refused" ? visible(worker.refused) : state);
  setText(parts.slots, `${number(running.length)} of ${number(worker.slots)}`);
  const jobs = { key: (job) => job.job_id, make: makeRunning, update: updateRunning };
  reconcile(parts.running, running.slice(0, MOST_RUNNING), jobs);
  setText(parts.more, running.length > MOST_RUNNING ? `and ${number(running.length - MOST_RUNNING)} more` : "");
  setText(parts.lag, seconds(worker.lag_seconds));
  setAttribute(parts.lag, "data-bad", worker.lag_seconds > 1);
  setSince(parts.seen, worker.last_heartbeat_at, " ago");
  setSince(parts.up, worker.started_at);
}

function makeRunning(job) {
  const id = String(job.job_id);
  const time = since(null);
  const node = h("span", { class: "chip" });
  node.append(isJobId(id) ? h("a", { href: hrefOf(id), class: "mono" }, id.slice(0, 8)) : visible(id), " ", time);
  node.time = time;
  return node;
}

function updateRunning(node, job) {
  setSince(node.time, job.since);
}
