// The page: connects the conversation, the text box, the bar, the scrolling and the sharing.

import { Chat } from "./chat.js";
import { copy } from "./clipboard.js";
import { $, element, setText } from "./dom.js";
import { Input } from "./input.js";
import { EndFollower } from "./scroll.js";
import { Sharing } from "./share.js";
import { StatusBar } from "./status-bar.js";

const TICK = 250; // milliseconds
const SLEPT = 10_000; // a tick that comes so late: the computer has slept
const SAID = 3; // pieces that the live region keeps

const bar = new StatusBar();
const sharing = new Sharing();
const follower = new EndFollower($("turns"), $("down"));
let edited = null; // the turn whose question is being edited
let frame = 0;
let notBefore = 0; // when the next drawing may begin

const chat = new Chat($("turns"), {
  problem: (text) => bar.showProblem(text),
  busy: (text) => input.showBusy(text),
  idle: () => input.showIdle(),
  stopping: (yes) => input.showStopping(yes),
  link: (up) => bar.showLink(up),
  readers: (count) => sharing.showReaders(count),
  changed: scheduleDraw,
  announce(text) {
    // What was written before the link was opened is not read out.
    if (!chat.live || chat.live.turn.transcript.seq <= chat.live.known) return;
    $("said").append(element("p", "", text));
    while ($("said").children.length > SAID) $("said").firstChild.remove();
  },
  asked(question, id) {
    edited = null;
    input.asked(question);
    setAddress(id);
    follower.goToEnd();
  },
  watching(id) {
    $("intro").hidden = true;
    bar.showLink(true);
    bar.show(id);
    follower.goToEnd();
    scheduleDraw();
  },
  cleared() {
    edited = null;
    $("intro").hidden = false;
    $("said").replaceChildren();
    bar.hide();
    sharing.showReaders(0);
    input.showEditing(false);
    input.showRunning(false);
    input.showIdle();
    document.title = "readalong";
  },
});

const input = new Input({
  ask: (question, model) => chat.ask(question, model, edited),
  stop: () => chat.isRunning && chat.stop(),
  keep() {
    edited = null;
    input.showEditing(false);
    input.fill("");
    input.focus();
  },
});

function setAddress(id) {
  history.pushState(null, "", id ? `?job=${encodeURIComponent(id)}` : location.pathname);
}

function openAddress() {
  const id = new URLSearchParams(location.search).get("job");
  if (id) chat.open(id);
  else chat.clear();
}

/** Draws in the next frame. Drawings that take long are rare ones: the page must stay usable. */
function scheduleDraw() {
  if (frame || !chat.live) return;
  const wait = notBefore - performance.now();
  if (wait > 0) frame = setTimeout(draw, wait);
  else frame = requestAnimationFrame(draw);
}

function draw() {
  frame = 0;
  if (!chat.live) return;
  const began = performance.now();
  const { turn } = chat.live;
  turn.view.draw(turn.transcript, turn.problem);
  bar.draw(chat.live, began);
  input.showRunning(chat.isRunning);
  if (!chat.isRunning) sharing.showReaders(0);
  document.title = turn.question ? `${turn.question.slice(0, 60)} – readalong` : "readalong";
  follower.follow();
  const took = performance.now() - began;
  notBefore = took > 8 ? began + 5 * took : 0;
}

let lastTick = performance.now();

// A stalled model sends no events, and the rate must fall.
setInterval(() => {
  const now = performance.now();
  if (now - lastTick > SLEPT && !document.hidden) chat.reconnect();
  lastTick = now;
  if (chat.isRunning) bar.draw(chat.live, now);
}, TICK);

// Buttons of the turns

const ACTIONS = {
  "copy-code": (clicked) => copyFrom(clicked, clicked.closest(".code").querySelector("code").textContent),
  "copy-answer": (clicked, turn) => copyFrom(clicked, turn.transcript.text),
  again: (_, turn) => chat.ask(turn.question, $("model").value.trim(), turn),
  edit(_, turn) {
    edited = turn;
    input.fill(turn.question);
    input.showEditing(true);
    input.focus();
  },
};

$("turns").addEventListener("click", (event) => {
  const clicked = event.target.closest("button");
  const action = Object.keys(ACTIONS).find((name) => clicked?.classList.contains(name));
  const turn = chat.turns.find(({ view }) => view.element.contains(clicked));
  if (!action || !turn) return;
  if (!action.startsWith("copy") && chat.isRunning) return;
  ACTIONS[action](clicked, turn);
});

async function copyFrom(clicked, text) {
  const done = await copy(text);
  setText(clicked, done ? "Copied" : "Not copied");
  setTimeout(() => setText(clicked, "Copy"), 2000);
}

$("new").addEventListener("click", () => {
  chat.clear();
  setAddress("");
  input.focus();
});

const sizes = new ResizeObserver(() => follower.follow());
sizes.observe($("turns"));
sizes.observe(document.querySelector(".dock"));
addEventListener("resize", () => follower.follow());
addEventListener("popstate", openAddress);
document.addEventListener("visibilitychange", () => chat.setHidden(document.hidden));

openAddress();
