// The inspector: routes, and the stream of changes that feeds all of it.

import { client, read } from "./api.js";
import { now, setNow, setSince, start } from "./clock.js";
import { $, setAttribute, setHidden, setText } from "./dom.js";
import { Findings } from "./findings.js";
import { FILTERS } from "./job-list.js";
import { JobPage } from "./job-page.js";
import { ListView } from "./list-view.js";
import { drawStatus } from "./overview.js";
import { drawLines, overviewLines, setRedis } from "./redis-lines.js";
import { StatsView } from "./stats-view.js";

const MINUTE = 60_000;

const findings = new Findings();
const stats = new StatsView();
const list = new ListView({ read, onFilter: (filters) => (location.hash = hashOf(filters)) });
const page = new JobPage({ findings, onLink: () => {} });
let scrolled = 0; // where the list was when a job was opened
let listHash = "#/"; // with its filters
let isBehind = true; // there may have been changes that the page has not read
let lostAt = null; // when the connection was lost, by the server's clock

// Routes: #/ with filters as a query, and #/jobs/ID

function hashOf(filters) {
  const query = new URLSearchParams(FILTERS.filter((name) => filters[name]).map((name) => [name, filters[name]]));
  return query.size ? `#/?${query}` : "#/";
}

function route() {
  const [, path, query] = /^#?([^?]*)\??(.*)$/.exec(location.hash);
  const id = /^\/jobs\/(.+)$/.exec(path)?.[1];
  const wasList = !$("overview").hidden;
  if (id && wasList) scrolled = $("job-scroller").scrollTop;
  setHidden($("overview"), Boolean(id));
  setHidden($("job"), !id);
  if (id) {
    page.open(decode(id));
    scrollTo(0, 0);
    $("job-title").focus({ preventScroll: true });
    return;
  }
  page.leave();
  listHash = location.hash || "#/";
  setAttribute($("back"), "href", listHash);
  const parameters = new URLSearchParams(query);
  list.open(Object.fromEntries(FILTERS.map((name) => [name, parameters.get(name) ?? ""])));
  if (!wasList) $("job-scroller").scrollTop = scrolled;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// What comes

function showStatus(status) {
  setNow(status.now);
  if (setRedis(status.redis)) {
    drawLines($("lines"), overviewLines());
    page.drawLines();
  }
  findings.show(status.findings ?? []);
  drawStatus(status);
  list.markStuck((status.findings ?? []).map((finding) => finding.job_id).filter(Boolean));
  page.showFindings();
  if (status.redis?.state === "ok") list.retry();
}

/** Says whether what one sees is live. */
function showLink(up, error) {
  setAttribute($("link"), "data-state", up ? "live" : "away");
  setText($("link-text"), up ? "Live" : "Reconnecting");
  setHidden($("stale"), up);
  lostAt = up ? null : (lostAt ?? now());
  if (up) return;
  setText($("stale-reason"), error?.message ?? "The connection is lost.");
  setSince($("stale-since"), lostAt);
}

async function follow() {
  for (;;) {
    try {
      for await (const { type, data } of client.changes({}, { retryFor: Infinity, onLink: showLink })) {
        take(type, data);
      }
    } catch (error) {
      // The API refuses it: it is another version, or a policy forbids it. Trying again at once would be a flood.
      showLink(false, error);
    }
    await new Promise((resolve) => setTimeout(resolve, 5000));
  }
}

function take(type, data) {
  if (type === "connected") return void (isBehind = true);
  if (isBehind) {
    // The first event says that from here on nothing is missed: what happened before is read now.
    isBehind = false;
    list.reload();
    page.reload();
  }
  if (type === "status") return showStatus(data);
  if (type === "job") {
    list.apply(data);
    page.changed(data);
  } else if (type === "erased") {
    list.erase(data.id);
    page.erased(data.id);
  }
  return stats.changed();
}

function listenToKeys() {
  addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
    const isTyping = event.target.matches("input, select, textarea");
    if (event.key === "/" && !isTyping) {
      event.preventDefault();
      if ($("overview").hidden) location.hash = listHash;
      setTimeout(() => $("search").focus());
    }
    if (event.key === "Escape" && !$("job").hidden) location.hash = listHash;
  });
}

start();
listenToKeys();
drawLines($("lines"), overviewLines());
addEventListener("hashchange", route);
setInterval(() => stats.changed(), MINUTE);
route();
stats.changed();
follow();
