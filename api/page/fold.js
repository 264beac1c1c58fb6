// Events to what they say. Pure: no DOM, no clock, no network.

export const TERMINAL = new Set(["done", "failed", "cancelled"]);

const pieces = (kind) => (state, data) => {
  part(state, kind, data.choice ?? 0).pieces.push(data.content);
};

const end = (state, data) => {
  state.metrics = data.metrics ?? null;
  state.usage = data.usage ?? null;
  state.error = data.error ?? null;
  state.by = data.by ?? null;
  state.finishReason = data.finish_reason ?? null;
};

// One entry for each type of event; a type that is not here changes nothing but the position.
const HANDLERS = {
  queued() {},
  started(state, data) {
    begin(state, data);
  },
  restarted(state, data) {
    begin(state, data);
    state.restarts.push({ attempt: data.attempt, reason: data.reason ?? "" });
  },
  content: pieces("content"),
  reasoning: pieces("reasoning"),
  refusal: pieces("refusal"),
  tool_call_delta(state, data) {
    const call = part(state, "tool", data.choice ?? 0, data.index);
    call.name ??= data.name;
    call.id ??= data.id;
    call.pieces.push(data.arguments ?? "");
  },
  tool_call(state, data) {
    whole(part(state, "tool", data.choice ?? 0, data.index), data);
  },
  function_call(state, data) {
    whole(part(state, "function", data.choice ?? 0), data);
  },
  done: end,
  cancelled: end,
  failed: end,
  waiting(state, data) {
    state.waitsFor = data.for;
  },
};

export const TYPES = Object.keys(HANDLERS);

/** A generation of which nothing is known yet. A part is a run of text or a call, in the order of their beginnings. */
export function nothing() {
  return {
    position: 0, status: "queued", attempt: 0, worker: null, parts: [], voided: 0, restarts: [], waitsFor: null,
    metrics: null, usage: null, error: null, by: null, finishReason: null,
  };
}

/**
 * Takes in the event with this number. Answers whether it was new: after a reconnection some come again. Only when Redis
 * has lost what was seen do numbers come anew, and that is said first.
 */
export function apply(state, seq, type, data) {
  const lost = type === "restarted" && data.reason === "log_lost";
  // That a job waits for a worker is not in its log, and has no number of its own.
  const unnumbered = type === "waiting" && data.for === "worker";
  if (seq <= state.position && !lost && !unnumbered) return false;
  state.position = lost ? seq : Math.max(state.position, seq);
  state.waitsFor = null;
  HANDLERS[type]?.(state, data);
  if (TERMINAL.has(type)) state.status = type;
  return true;
}

/** What the API shows of a job, as if its events had been read. */
export function ofJob(job) {
  const state = nothing();
  Object.assign(state, { position: job.last_seq, status: job.status, attempt: job.attempt, worker: job.worker });
  end(state, job);
  if (job.content) part(state, "content", 0).pieces.push(job.content);
  for (const call of job.tool_calls ?? []) whole(part(state, "tool", call.choice ?? 0, call.index), call);
  if (job.function_call) whole(part(state, "function", 0), job.function_call);
  return state;
}

/** The text of the first choice. */
export function text(state) {
  return state.parts.find((each) => each.key === "content 0")?.pieces.join("") ?? "";
}

/** Whether the model has said something in this attempt. */
export function speaking(state) {
  return state.parts.length > 0;
}

/** Characters that the model wrote with this event, for the rate. */
export function written(type, data) {
  const text = { content: data.content, reasoning: data.content, refusal: data.content, tool_call_delta: data.arguments }[type];
  return typeof text === "string" ? text.length : 0;
}

/** A new attempt: what an earlier one said is void. */
function begin(state, data) {
  if (state.parts.length) {
    state.parts = [];
    state.voided += 1;
  }
  state.status = "running";
  state.attempt = data.attempt;
  state.worker = data.worker ?? state.worker;
}

function part(state, kind, choice, index = 0) {
  const key = kind === "tool" ? `tool ${choice} ${index}` : `${kind} ${choice}`;
  let found = state.parts.find((each) => each.key === key);
  if (!found) state.parts.push((found = { key, kind, choice, pieces: [], whole: null }));
  return found;
}

function whole(call, data) {
  call.name = data.name ?? call.name;
  call.whole = data.arguments_error
    ? { problem: data.arguments_error, text: data.arguments_text ?? call.pieces.join("") }
    : { problem: null, text: pretty(data.arguments) };
}

function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value ?? {}, null, 2);
}
