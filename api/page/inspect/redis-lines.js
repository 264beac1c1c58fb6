// The redis-cli lines that show the same: those of docs/redis.md, for this job.

import { isJobId } from "./api.js";
import { codeLine } from "./copy.js";
import { h } from "./dom.js";

let prefix = "readalong";

/** Takes READALONG_PREFIX as the API tells it, and returns whether it is another. A shell must not read it otherwise. */
export function setPrefix(text) {
  if (typeof text !== "string" || text === prefix || !/^[\w.:-]+$/.test(text)) return false;
  prefix = text;
  return true;
}

export function jobLines(id) {
  if (!isJobId(id)) return [];
  const job = `'${prefix}:job:{${id}}`;
  return [
    ["Its state", `redis-cli hmget ${job}' status model attempt last_seq worker`],
    ["Its metrics", `redis-cli hget ${job}' metrics`],
    ["Its log", `redis-cli xrange ${job}:events' - +`],
    ["Its end", `redis-cli xrevrange ${job}:events' + - count 1`],
    ["Follow it live", `redis-cli --raw subscribe ${job}:live'`],
    ["Who has taken it", `redis-cli get 'arq:in-progress:${id}'`],
    ["Cancel it by hand", `redis-cli set ${job}:cancel' 'Ada, on call'`],
  ];
}

export function overviewLines() {
  return [
    ["The newest jobs", `redis-cli zrevrange ${prefix}:jobs 0 9`],
    ["The newest that failed", `redis-cli zrevrange ${prefix}:jobs:failed 0 9`],
    ["What waits and what is taken", `redis-cli zrange arq:queue:${prefix} 0 -1 withscores`],
    ["Leases, until when", `redis-cli zrange ${prefix}:leases 0 -1 withscores`],
    ["The workers", `redis-cli zrange ${prefix}:workers 0 -1`],
    ["Workers whose process lives", `redis-cli pubsub channels '${prefix}:alive:*'`],
  ];
}

/** Fills a list with lines, each with its button. */
export function drawLines(list, lines) {
  list.replaceChildren(...lines.map(([label, line]) => h("li", {}, h("span", { class: "soft" }, label), codeLine(line, label))));
}
