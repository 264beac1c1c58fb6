// The reducer: events to the state that the page shows. Pure: no DOM, no clock, no network.

export const TERMINAL = new Set(["done", "failed", "cancelled"]);

const addText = (kind) => (state, data) => {
  findPart(state, kind, data.choice ?? 0).pieces.push(data.content);
};

const finish = (state, data) => {
  state.metrics = data.metrics ?? null;
  state.usage = data.usage ?? null;
  state.error = data.error ?? null;
  state.by = data.by ?? null;
  state.finishReason = data.finish_reason ?? null;
};

// One entry for each type of event. Other types change only the position.
const HANDLERS = {
  queued() {},
  started(state, data) {
    startAttempt(state, data);
  },
  restarted(state, data) {
    startAttempt(state, data);
    state.restarts.push({ attempt: data.attempt, reason: data.reason ?? "" });
  },
  content: addText("content"),
  reasoning: addText("reasoning"),
  refusal: addText("refusal"),
  tool_call_delta(state, data) {
    const call = findPart(state, "tool", data.choice ?? 0, data.index);
    call.name ??= data.name;
    call.id ??= data.id;
    call.pieces.push(data.arguments ?? "");
  },
  tool_call(state, data) {
    completeCall(findPart(state, "tool", data.choice ?? 0, data.index), data);
  },
  function_call(state, data) {
    completeCall(findPart(state, "function", data.choice ?? 0), data);
  },
  done: finish,
  cancelled: finish,
  failed: finish,
  waiting(state, data) {
    state.waitsFor = data.for;
  },
};

export const TYPES = Object.keys(HANDLERS);

/** Returns the state before any event. A part is a run of text or a call; parts are in the order of their starts. */
export function emptyTranscript() {
  return {
    position: 0, status: "queued", attempt: 0, worker: null, parts: [], resets: 0, restarts: [], waitsFor: null,
    metrics: null, usage: null, error: null, by: null, finishReason: null,
  };
}

/**
 * Applies the event with this number. Returns false for a repeat after a reconnection. Numbers go back only after a
 * `restarted` with the reason `log_lost`.
 */
export function applyEvent(state, seq, type, data) {
  const lost = type === "restarted" && data.reason === "log_lost";
  // This event is not in the log, so it has no number of its own.
  const unnumbered = type === "waiting" && data.for === "worker";
  if (seq <= state.position && !lost && !unnumbered) return false;
  state.position = lost ? seq : Math.max(state.position, seq);
  state.waitsFor = null;
  HANDLERS[type]?.(state, data);
  if (TERMINAL.has(type)) state.status = type;
  return true;
}

/** Returns the state of a job as the API shows it. */
export function fromJob(job) {
  const state = emptyTranscript();
  Object.assign(state, { position: job.last_seq, status: job.status, attempt: job.attempt, worker: job.worker });
  finish(state, job);
  if (job.content) findPart(state, "content", 0).pieces.push(job.content);
  for (const call of job.tool_calls ?? []) completeCall(findPart(state, "tool", call.choice ?? 0, call.index), call);
  if (job.function_call) completeCall(findPart(state, "function", 0), job.function_call);
  return state;
}

/** Returns the text of the first choice. */
export function text(state) {
  return state.parts.find((each) => each.key === "content 0")?.pieces.join("") ?? "";
}

/** Whether this attempt has text or a call. */
export function hasContent(state) {
  return state.parts.length > 0;
}

/** Returns the number of characters in an event, for the rate. */
export function countCharacters(type, data) {
  const text = { content: data.content, reasoning: data.content, refusal: data.content, tool_call_delta: data.arguments }[type];
  return typeof text === "string" ? text.length : 0;
}

/** Starts an attempt, which discards the text so far. */
function startAttempt(state, data) {
  if (state.parts.length) {
    state.parts = [];
    state.resets += 1;
  }
  state.status = "running";
  state.attempt = data.attempt;
  state.worker = data.worker ?? state.worker;
}

function findPart(state, kind, choice, index = 0) {
  const key = kind === "tool" ? `tool ${choice} ${index}` : `${kind} ${choice}`;
  let found = state.parts.find((each) => each.key === key);
  if (!found) state.parts.push((found = { key, kind, choice, pieces: [], whole: null }));
  return found;
}

function completeCall(call, data) {
  call.name = data.name ?? call.name;
  call.whole = data.arguments_error
    ? { problem: data.arguments_error, text: data.arguments_text ?? call.pieces.join("") }
    : { problem: null, text: pretty(data.arguments) };
}

function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value ?? {}, null, 2);
}
