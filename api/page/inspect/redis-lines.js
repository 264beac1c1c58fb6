// The redis-cli lines that show the same: those of docs/redis.md, for this job.

import { isJobId } from "./api.js";
import { codeLine } from "./copy.js";
import { h } from "./dom.js";

let prefix = "readalong";
let cli = "redis-cli";

/** Takes from the status how this Redis is reached, and returns whether that is new. A shell must not read it otherwise. */
export function setRedis(redis) {
  const before = prefix + cli;
  if (/^[\w.:-]+$/.test(redis?.prefix ?? "")) ({ prefix } = redis);
  if (/^redis-cli -[ -~]+$/.test(redis?.cli ?? "")) ({ cli } = redis);
  return prefix + cli !== before;
}

export function jobLines(id) {
  if (!isJobId(id)) return [];
  const job = `'${prefix}:job:{${id}}`;
  return [
    ["Its state", `${cli} hmget ${job}' status model attempt last_seq worker`],
    ["Its metrics", `${cli} hget ${job}' metrics`],
    ["Its log", `${cli} xrange ${job}:events' - +`],
    ["Its end", `${cli} xrevrange ${job}:events' + - count 1`],
    ["Follow it live", `${cli} --raw subscribe ${job}:live'`],
    ["Who has taken it", `${cli} get 'arq:in-progress:${id}'`],
    ["Cancel it by hand", `${cli} set ${job}:cancel' 'Ada, on call'`],
  ];
}

export function overviewLines() {
  return [
    ["The newest jobs", `${cli} zrevrange ${prefix}:jobs 0 9`],
    ["The newest that failed", `${cli} zrevrange ${prefix}:jobs:failed 0 9`],
    ["What waits and what is taken", `${cli} zrange arq:queue:${prefix} 0 -1 withscores`],
    ["Leases, until when", `${cli} zrange ${prefix}:leases 0 -1 withscores`],
    ["The workers", `${cli} zrange ${prefix}:workers 0 -1`],
    ["Workers whose process lives", `${cli} pubsub channels '${prefix}:alive:*'`],
  ];
}

/** Fills a list with lines, each with its button. */
export function drawLines(list, lines) {
  list.replaceChildren(...lines.map(([label, line]) => h("li", {}, h("span", { class: "soft" }, label), codeLine(line, label))));
}
