// The page: a conversation of turns; the last one may be live.

import { Bar } from "./bar.js";
import { cancel, inspect, newKey, patiently, pause, submit } from "./calls.js";
import { before, metadata, questionOf } from "./chain.js";
import { apply, nothing, ofJob, speaking, TERMINAL, text, written } from "./fold.js";
import { Rate } from "./rate.js";
import { element, Turn } from "./turn.js";
import { Watcher } from "./watch.js";

const $ = (id) => document.getElementById(id);
const bar = new Bar();
const scroller = document.scrollingElement;

let turns = []; // { id, question, state, view }, oldest first
let live = null; // what is shown in the bar: the last turn, with its watcher and times
let loading = Promise.resolve(); // the earlier turns of a link
let unsent = null; // { body, key } of a submit without an answer
let view = 0; // counts up when the page shows something else, so that late answers are dropped
let atEnd = true;
let frame = 0;

// Asking

async function ask(question) {
  const mine = view;
  bar.problem("");
  bar.busy("Sending");
  await loading;
  if (mine !== view) return;
  const previous = turns.at(-1)?.id;
  const body = {
    messages: [...history(), { role: "user", content: question }],
    metadata: metadata(question, previous),
  };
  if ($("model").value.trim()) body.model = $("model").value.trim();
  // The same body again after a lost answer: the same key, the same job.
  const same = unsent && JSON.stringify(unsent.body) === JSON.stringify(body);
  unsent = { body, key: same ? unsent.key : newKey() };
  const sent = performance.now();
  let job;
  try {
    job = await submit(body, unsent.key, () => mine === view && bar.busy("Sending again"));
  } catch (problem) {
    if (mine !== view) return;
    bar.problem(problem.message);
    return bar.idle();
  }
  unsent = null;
  if (mine !== view) return;
  if ($("question").value.trim() === question) $("question").value = "";
  grow();
  address(job.id);
  atEnd = true;
  follow(add({ id: job.id, question, state: nothing(), view: new Turn(question) }), { sent });
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

function address(id) {
  window.history.pushState(null, "", id ? `?job=${encodeURIComponent(id)}` : location.pathname);
}

// Watching

/** `sent`: when this tab asked. `known`: events up to this number are history, and say nothing about the rate. */
function follow(turn, { sent = null, known = 0, metrics = null } = {}) {
  live?.watcher.close();
  const first = metrics?.time_to_first_token ?? null;
  const mine = { turn, sent, first, rate: new Rate(), heard: performance.now(), watcher: null };
  live = mine;
  mine.watcher = new Watcher(turn.id, {
    event(seq, type, data) {
      const before = turn.state.position;
      if (!apply(turn.state, seq, type, data)) return;
      const now = (mine.heard = performance.now());
      // History may come merged with what is new: only that share of it was written just now.
      const fresh = (seq - Math.max(known, before)) / (seq - before);
      if (fresh > 0) mine.rate.add(now, fresh * written(type, data));
      if (mine.first === null && sent !== null && speaking(turn.state)) mine.first = (now - sent) / 1000;
      soon();
    },
    link: (up) => bar.link(up),
    gone(problem) {
      bar.problem(problem.message);
      turn.state.status = "failed";
      turn.state.error = { code: problem.code, message: "There is nothing more to read" };
      soon();
    },
    ended(job) {
      turn.state = ofJob(job);
      turn.view.element.replaceWith((turn.view = new Turn(turn.question)).element);
      soon();
    },
  });
  bar.link(true);
  bar.show(turn.id);
  soon();
}

/** Draws in the next frame what came since the last: a fast model must not cost a layout for each token. */
function soon() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    if (!live) return;
    live.turn.view.draw(live.turn.state);
    bar.draw(live, performance.now());
    settle();
  });
}

/** Only while the reader is at the end: nobody wants to be torn away from what they read. */
function settle() {
  if (atEnd) scroller.scrollTop = scroller.scrollHeight;
}

// A stalled model sends no event, and its rate falls all the same.
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
  bar.problem("");
  bar.hide();
}

/** Shows the job that the address names, and the turns that led to it. */
async function open() {
  clear();
  const mine = view;
  const id = new URLSearchParams(location.search).get("job");
  if (!id) return;
  $("intro").hidden = true;
  bar.busy("Opening");
  for (;;) {
    try {
      const job = await inspect(id);
      if (mine !== view) return;
      const question = questionOf(job);
      bar.problem("");
      loading = earlier(job, mine);
      return follow(add({ id, question, state: nothing(), view: new Turn(question) }), {
        known: job.last_seq,
        metrics: job.metrics,
      });
    } catch (problem) {
      if (mine !== view) return;
      bar.problem(problem.message);
      if (problem.gone) {
        $("intro").hidden = false;
        return bar.idle();
      }
      await pause(2000);
      if (mine !== view) return;
    }
  }
}

/** The earlier turns, newest first, each above the one that followed it. */
async function earlier(last, mine) {
  const jobs = before(last, (id) => patiently(() => inspect(id)));
  for (;;) {
    const { value, done } = await jobs.next();
    if (mine !== view) return;
    if (done) return value && $("turns").prepend(element("p", "note", value));
    const turn = { id: value.id, question: questionOf(value), state: ofJob(value), view: null };
    turn.view = new Turn(turn.question);
    turn.view.draw(turn.state);
    turns.unshift(turn);
    $("turns").prepend(turn.view.element);
    soon();
  }
}

// The reader's hands

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
  // An Enter that ends the composition of a character is not one that sends.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  $("ask").requestSubmit();
});

$("question").addEventListener("input", grow);

$("stop").addEventListener("click", async () => {
  const mine = live;
  bar.stopping(true);
  try {
    await cancel(mine.turn.id);
  } catch (problem) {
    if (mine !== live) return;
    bar.stopping(false);
    bar.problem(problem.message);
  }
});

$("new").addEventListener("click", () => {
  clear();
  address("");
  $("question").focus();
});

const sizes = new ResizeObserver(settle);
sizes.observe($("turns"));
sizes.observe(document.querySelector(".dock"));
addEventListener("resize", settle);
addEventListener("popstate", open);
addEventListener("scroll", () => {
  atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 48;
}, { passive: true });

open();
