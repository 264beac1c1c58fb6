// The reducer of events. Pure but for the clock: no network.

export const TERMINAL = new Set(["done", "failed", "cancelled"]);

/** A job's state, made of its events. Its text is always valid: a restart discards what came before. */
export class Transcript {
  status = "queued";
  position = ""; // the id of the last event, for `after`
  seq = 0;
  attempt = 0;
  worker = null;
  parts = []; // runs of text and calls, in the order of their starts
  restarts = [];
  waiting = null; // the data of the event `waiting`, until the next event
  usage = null;
  metrics = null;
  error = null;
  by = null;
  finishReason = null;
  #startedAt;
  #count = 0;
  #first = null; // when the first token came, and the count then
  #last = null;

  /** `startedAt`: `performance.now()` of the submit, if this program has submitted the job. */
  constructor(startedAt = null) {
    this.#startedAt = startedAt;
  }

  /** Returns the transcript of a job as the API shows it. */
  static fromJob(job) {
    const { status, last_seq: seq, attempt, worker } = job;
    const made = Object.assign(new Transcript(), { status, seq, position: String(seq), attempt, worker });
    made.#take(job);
    return made;
  }

  get ended() { return TERMINAL.has(this.status); }
  get text() { return this.#find("content")?.text ?? ""; }
  get reasoning() { return this.#find("reasoning")?.text ?? ""; }
  get refusal() { return this.#find("refusal")?.text ?? ""; }
  get toolCalls() { return this.parts.filter((part) => part.kind === "tool" && part.choice === 0); }
  get functionCall() { return this.#find("function") ?? null; }

  /** Counts tokens, and seconds by this clock. At the end all figures are the server's. */
  get progress() {
    const [start, first, told] = [this.#startedAt, this.#first, this.metrics ?? {}];
    const seconds = first ? (this.#last - first.at) / 1000 : 0;
    return {
      count: told.chunk_count ?? this.#count,
      timeToFirstToken: told.time_to_first_token ?? (first && start !== null ? (first.at - start) / 1000 : null),
      totalSeconds: told.total_seconds ?? (start === null ? null : (performance.now() - start) / 1000),
      tokensPerSecond: told.tokens_per_second ?? (seconds > 0 ? (this.#count - first.count) / seconds : null),
    };
  }

  /** Applies an event. Returns false, and changes nothing, for one that came already. */
  apply({ type, position, seq, data }) {
    const numbers = position ? seq - this.seq : 0;
    if (position) {
      if (numbers <= 0 && !(type === "restarted" && data.reason === "log_lost")) return false;
      Object.assign(this, { position, seq });
    }
    if (type === "readers") return true;
    this.waiting = type === "waiting" ? data : null;
    if (type === "started" || type === "restarted") this.#start(type, data);
    else if (["content", "reasoning", "refusal"].includes(type)) this.#append(type, data, data.content, numbers);
    else if (type === "tool_call_delta") this.#append("tool", data, data.arguments, numbers);
    else if (type === "tool_call") complete(this.#part("tool", data), data);
    else if (type === "function_call") complete(this.#part("function", data), data);
    else if (TERMINAL.has(type)) {
      this.status = type;
      this.#take(data);
    }
    return true;
  }

  #start(type, { attempt, worker, reason = "" }) {
    if (type === "restarted") this.restarts = [...this.restarts, { attempt, reason }];
    Object.assign(this, { parts: [], status: "running", attempt, worker: worker ?? this.worker });
    this.#count = 0;
    this.#first = this.#last = null;
  }

  #append(kind, data, text, numbers) {
    const part = this.#part(kind, data);
    part.name ??= data.name;
    part.id ??= data.id;
    part.text += text ?? "";
    this.#count += numbers;
    this.#last = performance.now();
    this.#first ??= { at: this.#last, count: this.#count };
  }

  /** Takes the whole answer: a watch may have begun in the middle of it. */
  #take({ content, tool_calls: calls, function_call: call, choices, finish_reason: finishReason = null, ...data }) {
    for (const each of [{ content, tool_calls: calls, function_call: call }, ...(choices ?? [])]) {
      const choice = each.index ?? 0;
      if (each.content) this.#part("content", { choice }).text = each.content;
      for (const made of each.tool_calls ?? []) complete(this.#part("tool", { choice, ...made }), made);
      if (each.function_call) complete(this.#part("function", { choice }), each.function_call);
    }
    const { usage = null, metrics = null, error = null, by = null } = data;
    Object.assign(this, { usage, metrics, error, by, finishReason });
  }

  #find(kind, choice = 0, index = 0) {
    return this.parts.find((part) => part.kind === kind && part.choice === choice && part.index === index);
  }

  #part(kind, { choice = 0, index }) {
    const place = kind === "tool" ? index ?? 0 : 0;
    const found = this.#find(kind, choice, place);
    if (!found) this.parts.push({ kind, choice, index: place, text: "", complete: false });
    return found ?? this.parts.at(-1);
  }
}

/** Of a call: `text` is what the model wrote, `arguments` is parsed, or null with the `error`. */
function complete(part, { name, id, input, arguments: parsed = null, arguments_text: text, arguments_error: error = null }) {
  Object.assign(part, { complete: true, name: name ?? part.name, id: id ?? part.id, arguments: parsed, error });
  part.text = input ?? text ?? (part.text || JSON.stringify(parsed ?? {}));
}
