// The page: a conversation of turns. The last one may be live.

import { cancel, inspect, newIdempotencyKey, sleep, submit, withRetry } from "./api.js";
import { makeMetadata, previousJobs, readQuestion } from "./conversation.js";
import { applyEvent, countCharacters, emptyTranscript, fromJob, hasContent, TERMINAL, text } from "./transcript.js";
import { Rate } from "./rate.js";
import { StatusBar } from "./status-bar.js";
import { element, TurnView } from "./turn.js";
import { Watcher } from "./watch.js";

const $ = (id) => document.getElementById(id);
const bar = new StatusBar();
const scroller = document.scrollingElement;

let turns = []; // { id, question, state, view }, oldest first
let live = null; // the turn in the status bar, the last one, with its watcher and times
let loading = Promise.resolve(); // loads the earlier turns of a link
let unsent = null; // { body, key } of a submit without a response
let view = 0; // changes when the page shows another conversation, so that late responses are dropped
let atEnd = true;
let frame = 0;

// Asking

async function ask(question) {
  const mine = view;
  bar.showProblem("");
  bar.showBusy("Sending");
  await loading;
  if (mine !== view) return;
  const previous = turns.at(-1)?.id;
  const body = {
    messages: [...history(), { role: "user", content: question }],
    metadata: makeMetadata(question, previous),
  };
  if ($("model").value.trim()) body.model = $("model").value.trim();
  // The same body after a lost response: the same key, so the same job.
  const same = unsent && JSON.stringify(unsent.body) === JSON.stringify(body);
  unsent = { body, key: same ? unsent.key : newIdempotencyKey() };
  const sent = performance.now();
  let job;
  try {
    job = await submit(body, unsent.key, () => mine === view && bar.showBusy("Sending again"));
  } catch (problem) {
    if (mine !== view) return;
    bar.showProblem(problem.message);
    return bar.showIdle();
  }
  unsent = null;
  if (mine !== view) return;
  if ($("question").value.trim() === question) $("question").value = "";
  grow();
  setAddress(job.id);
  atEnd = true;
  follow(add({ id: job.id, question, state: emptyTranscript(), view: new TurnView(question) }), { sent });
}

function history() {
  return turns.flatMap(({ question, state }) => {
    const answer = text(state);
    return [
      ...(question ? [{ role: "user", content: question }] : []),
      ...(answer ? [{ role: "assistant", content: answer }] : []),
    ];
  });
}

function setAddress(id) {
  window.history.pushState(null, "", id ? `?job=${encodeURIComponent(id)}` : location.pathname);
}

// Watching

/** `sent`: when this tab submitted. `known`: events up to this number are history, and do not count for the rate. */
function follow(turn, { sent = null, known = 0, metrics = null } = {}) {
  live?.watcher.close();
  const first = metrics?.time_to_first_token ?? null;
  const mine = { turn, sent, first, rate: new Rate(), lastEventAt: performance.now(), watcher: null };
  live = mine;
  mine.watcher = new Watcher(turn.id, {
    event(seq, type, data) {
      const before = turn.state.position;
      if (!applyEvent(turn.state, seq, type, data)) return;
      const now = (mine.lastEventAt = performance.now());
      // An event may merge history and new text: only the share of the new numbers counts.
      const newShare = (seq - Math.max(known, before)) / (seq - before);
      if (newShare > 0) mine.rate.add(now, newShare * countCharacters(type, data));
      if (mine.first === null && sent !== null && hasContent(turn.state)) mine.first = (now - sent) / 1000;
      scheduleRender();
    },
    link: (up) => bar.showLink(up),
    gone(problem) {
      bar.showProblem(problem.message);
      turn.state.status = "failed";
      turn.state.error = { code: problem.code, message: "The job no longer exists" };
      scheduleRender();
    },
    ended(job) {
      turn.state = fromJob(job);
      turn.view.element.replaceWith((turn.view = new TurnView(turn.question)).element);
      scheduleRender();
    },
  });
  bar.showLink(true);
  bar.show(turn.id);
  scheduleRender();
}

/** Draws in the next frame: a layout for each token of a fast model would be too slow. */
function scheduleRender() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    if (!live) return;
    live.turn.view.draw(live.turn.state);
    bar.draw(live, performance.now());
    followEnd();
  });
}

/** Scrolls to the end, unless the reader has scrolled up. */
function followEnd() {
  if (atEnd) scroller.scrollTop = scroller.scrollHeight;
}

// A stalled model sends no events, and the rate must fall.
setInterval(() => live && !TERMINAL.has(live.turn.state.status) && bar.draw(live, performance.now()), 250);

// What the page shows

function add(turn) {
  turns.push(turn);
  $("turns").append(turn.view.element);
  $("intro").hidden = true;
  return turn;
}

function clear() {
  view += 1;
  live?.watcher.close();
  live = null;
  turns = [];
  unsent = null;
  loading = Promise.resolve();
  atEnd = true;
  $("turns").replaceChildren();
  $("intro").hidden = false;
  bar.showProblem("");
  bar.hide();
}

/** Shows the job in the address, and the turns before it. */
async function open() {
  clear();
  const mine = view;
  const id = new URLSearchParams(location.search).get("job");
  if (!id) return;
  $("intro").hidden = true;
  bar.showBusy("Opening");
  for (;;) {
    try {
      const job = await inspect(id);
      if (mine !== view) return;
      const question = readQuestion(job);
      bar.showProblem("");
      loading = loadEarlier(job, mine);
      return follow(add({ id, question, state: emptyTranscript(), view: new TurnView(question) }), {
        known: job.last_seq,
        metrics: job.metrics,
      });
    } catch (problem) {
      if (mine !== view) return;
      bar.showProblem(problem.message);
      if (problem.isGone) {
        $("intro").hidden = false;
        return bar.showIdle();
      }
      await sleep(2000);
      if (mine !== view) return;
    }
  }
}

/** Adds the earlier turns, newest first, each above the next. */
async function loadEarlier(last, mine) {
  const jobs = previousJobs(last, (id) => withRetry(() => inspect(id)));
  for (;;) {
    const { value, done } = await jobs.next();
    if (mine !== view) return;
    if (done) return value && $("turns").prepend(element("p", "note", value));
    const turn = { id: value.id, question: readQuestion(value), state: fromJob(value), view: null };
    turn.view = new TurnView(turn.question);
    turn.view.draw(turn.state);
    turns.unshift(turn);
    $("turns").prepend(turn.view.element);
    scheduleRender();
  }
}

// Input

function grow() {
  const box = $("question");
  box.rows = Math.min(8, Math.max(1, box.value.split("\n").length));
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (question && !$("send").disabled && !$("send").hidden) ask(question);
});

$("question").addEventListener("keydown", (event) => {
  // An Enter that ends the composition of a character does not send.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  $("ask").requestSubmit();
});

$("question").addEventListener("input", grow);

$("stop").addEventListener("click", async () => {
  const mine = live;
  bar.showStopping(true);
  try {
    await cancel(mine.turn.id);
  } catch (problem) {
    if (mine !== live) return;
    bar.showStopping(false);
    bar.showProblem(problem.message);
  }
});

$("new").addEventListener("click", () => {
  clear();
  setAddress("");
  $("question").focus();
});

const sizes = new ResizeObserver(followEnd);
sizes.observe($("turns"));
sizes.observe(document.querySelector(".dock"));
addEventListener("resize", followEnd);
addEventListener("popstate", open);
addEventListener("scroll", () => {
  atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 48;
}, { passive: true });

open();
