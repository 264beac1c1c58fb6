// What is the matter, worst first: the first thing that one sees.

import { hrefOf, isJobId } from "./api.js";
import { setSince, since } from "./clock.js";
import { codeLine } from "./copy.js";
import { $, h, reconcile, setAttribute, setHidden, setText } from "./dom.js";
import { plural, visible } from "./format.js";

const RANK = { critical: 0, warning: 1, info: 2 };
const WORDS = { critical: "Critical", warning: "Warning", info: "Note" };
const SHOWN = 8; // findings before "Show all": a hundred stuck jobs have one cause

const severityOf = ({ severity }) => (severity in RANK ? severity : "warning");

/** Which finding this is, as long as it lasts. */
const keyOf = ({ code, job_id: job, worker_id: worker }) => [code, job ?? "", worker ?? ""].join("|");

/** A command in a sentence that does not mark it. */
const COMMAND = /\b((?:redis-cli|readalong|docker|top) [-a-z][^;,()`]*?)(?=[;,()]|\.?$)/g;

/** Splits a text at its commands, which are between backticks or look like one: returns texts, and `{ code }`. */
function partsOf(text) {
  const parts = text.split(text.includes("`") ? /`([^`]+)`/ : COMMAND);
  return parts.map((part, index) => (index % 2 ? { code: part } : part)).filter((part) => part !== "");
}

export class Findings {
  #all = [];
  #showAll = false;
  #told = "";

  constructor() {
    $("more-findings").addEventListener("click", () => {
      this.#showAll = !this.#showAll;
      this.#draw();
    });
  }

  /** `findings`: null until they are known. */
  show(findings) {
    if (findings === null) return;
    // The order of the API within a severity.
    this.#all = [...findings].sort((a, b) => RANK[severityOf(a)] - RANK[severityOf(b)]);
    this.#draw();
    this.#announce();
  }

  /** Those about this job. */
  ofJob(id) {
    return this.#all.filter(({ job_id: job }) => job === id);
  }

  #draw() {
    const all = this.#all;
    const worst = all.length ? severityOf(all[0]) : "ok";
    const isFine = worst === "ok" || worst === "info";
    setAttribute($("findings"), "data-worst", worst);
    setText($("findings-title"), isFine ? "All is well" : "What is the matter");
    drawFindings($("finding-list"), this.#showAll ? all : all.slice(0, SHOWN));
    setHidden($("more-findings"), all.length <= SHOWN);
    setText($("more-findings"), this.#showAll ? "Show fewer" : `Show all ${all.length}`);
    const loud = all.filter((finding) => severityOf(finding) !== "info").length;
    // One sees it in the row of tabs, too.
    document.title = `${loud ? `(${loud}) ` : ""}Inspector – readalong`;
  }

  /** Tells a screen reader once, when the findings are others, not when their numbers change. */
  #announce() {
    const key = this.#all.map(keyOf).join("\n");
    if (key === this.#told) return;
    this.#told = key;
    const loud = this.#all.filter((finding) => severityOf(finding) !== "info");
    setText($("announcement"), loud.length ? `${plural(loud.length, "problem")}: ${loud[0].title}` : "All is well");
  }
}

/** Draws findings into a list. */
export function drawFindings(list, findings, { withLinks = true } = {}) {
  setHidden(list, !findings.length);
  reconcile(list, findings, { key: keyOf, make: () => makeFinding(withLinks), update: updateFinding });
}

function makeFinding(withLinks) {
  const parts = {
    severity: h("span", { class: "severity" }),
    title: h("strong"),
    since: h("span", { class: "soft" }),
    time: since(null),
    reason: h("p"),
    action: h("p", { class: "action" }),
    link: h("a", { hidden: true }),
    withLinks,
    actionText: null,
  };
  parts.since.append("since ", parts.time);
  const node = h(
    "li",
    { class: "finding" },
    h("p", { class: "finding-head" }, parts.severity, " ", parts.title, " ", parts.since, parts.link),
    parts.reason,
    parts.action,
  );
  node.parts = parts;
  return node;
}

function updateFinding(node, finding) {
  const { parts } = node;
  const severity = severityOf(finding);
  setAttribute(node, "data-severity", severity);
  setAttribute(node, "data-code", visible(finding.code));
  setText(parts.severity, WORDS[severity]);
  setText(parts.title, visible(finding.title));
  setHidden(parts.since, !finding.since);
  if (finding.since) setSince(parts.time, finding.since, "");
  setText(parts.reason, visible(finding.reason));
  // A button that is about to be pressed is not replaced.
  if (parts.actionText !== finding.action) {
    parts.actionText = finding.action;
    parts.action.replaceChildren(...actionNodes(finding.action));
  }
  const job = finding.job_id;
  const isLinked = parts.withLinks && typeof job === "string" && isJobId(job);
  setHidden(parts.link, !isLinked);
  if (!isLinked) return;
  setAttribute(parts.link, "href", hrefOf(job));
  setText(parts.link, `Show job ${job.slice(0, 8)}`);
}

function actionNodes(action) {
  return partsOf(visible(action)).map((part) => (part.code ? codeLine(part.code, part.code, "span") : part));
}
