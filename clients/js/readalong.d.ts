// Types of readalong.js.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JobStatus = "queued" | "running" | "done" | "failed" | "cancelled";

export interface Worker { id: string; host?: string; pid?: number }
export interface JobError { code: string; message: string; retryable: boolean }
export interface Usage { prompt_tokens?: number; completion_tokens?: number; total_tokens?: number; [name: string]: unknown }
/** Times in seconds. */
export interface Metrics {
  queue_seconds?: number; time_to_first_token?: number | null; time_to_first_token_from_call?: number | null;
  total_seconds?: number; chunk_count?: number; tokens_per_second?: number | null;
  prompt_tokens?: number; completion_tokens?: number; total_tokens?: number; [name: string]: unknown;
}
export interface ToolCall {
  index?: number; id?: string | null; name?: string | null; choice?: number; tool_type?: string;
  /** Parsed; null for broken JSON and for a custom tool. */
  arguments: Json; arguments_error?: string; arguments_text?: string; input?: string; [name: string]: unknown;
}
export interface FunctionCall { name?: string | null; choice?: number; arguments: Json; arguments_error?: string; arguments_text?: string }
export interface Choice { index: number; content?: string | null; tool_calls?: ToolCall[]; function_call?: FunctionCall | null; finish_reason?: string | null }

/** A job as the API has it. Lists, and the response to a cancel, have no answer in it. */
export interface Job {
  id: string; status: JobStatus; model: string | null; attempt: number; worker: Worker | string | null;
  waiting_for: "thread" | "worker" | null; last_seq: number;
  created_at: string; started_at: string | null; ended_at: string | null; last_event_at: string;
  content: string | null; tool_calls: ToolCall[] | null; function_call: FunctionCall | null; finish_reason: string | null;
  usage: Usage | null; metrics: Metrics | null; error: JobError | null; metadata: { [key: string]: Json } | null;
  thread: string | null; on_worker_lost: string; deadline: string | null;
  cancel_on_disconnect: boolean; disconnect_grace: number | null;
  links: { self: string; events: string; cancel: string }; request?: { [name: string]: Json } | null;
  [name: string]: unknown;
}
export interface JobPage { jobs: Job[]; next: string | null }

export interface Message { role: string; content?: string | null | object[]; [name: string]: unknown }
/** OpenAI's parameters of a chat, and readalong's own. */
export interface Parameters {
  model?: string; metadata?: { [key: string]: Json }; thread?: string;
  thread_policy?: "reject" | "enqueue" | "interrupt" | "rollback"; on_worker_lost?: "retry" | "fail";
  deadline?: number; cancel_on_disconnect?: boolean | number; [name: string]: unknown;
}
export interface JobRequest extends Parameters { messages: Message[] }

// Events

interface Answer { content?: string; tool_calls?: ToolCall[]; function_call?: FunctionCall; choices?: Choice[]; usage?: Usage; metrics?: Metrics; finish_reason?: string | null }
interface Piece { content: string; choice?: number; logprobs?: unknown; extra?: { [path: string]: Json } }
/** The data of each type of event. */
export interface EventData {
  queued: { job_id: string; model: string | null; created_at: string };
  started: { attempt: number; epoch: string; worker?: Worker };
  restarted: { attempt: number; reason: string; epoch?: string; worker?: Worker };
  content: Piece;
  reasoning: Piece & { field?: string };
  refusal: Piece;
  tool_call_delta: { index?: number; id?: string | null; name?: string | null; arguments?: string; choice?: number; tool_type?: string };
  tool_call: ToolCall;
  function_call: FunctionCall;
  waiting: { for: "model"; reason: string; seconds: number } | { for: "worker"; since: string };
  readers: { count: number };
  done: Answer;
  cancelled: Answer & { by: string };
  failed: Answer & { error: JobError };
}
/** An event of a job. `position` goes into `after`; it is empty for an event that is not in the log. */
export type JobEvent = { [Type in keyof EventData]: { type: Type; position: string; seq: number; data: EventData[Type] } }[keyof EventData];
export type TerminalType = "done" | "failed" | "cancelled";
export const TERMINAL: ReadonlySet<string>;

/** `connected`: the stream begins, or begins `again` after a break, in which changes may have been missed. */
export type Change =
  | { type: "connected"; data: { again: boolean } }
  | { type: "job"; data: Job }
  | { type: "erased"; data: { id: string } }
  | { type: "status"; data: { [name: string]: Json } };

// Transcripts

export interface Part {
  kind: "content" | "reasoning" | "refusal" | "tool" | "function"; choice: number; index: number;
  /** The text so far; of a call its arguments as the model wrote them. */
  text: string; complete: boolean; id?: string | null; name?: string | null; arguments?: Json; error?: string | null;
}
/** Seconds. By this computer's clock while the job runs, the server's figures at the end. */
export interface Progress { count: number; timeToFirstToken: number | null; totalSeconds: number | null; tokensPerSecond: number | null }

/** A job's state, made of its events. Its text is always valid: a restart discards what came before. */
export class Transcript {
  constructor(startedAt?: number | null);
  static fromJob(job: Job): Transcript;
  status: JobStatus; position: string; seq: number; attempt: number; worker: Worker | string | null;
  parts: Part[]; restarts: { attempt: number; reason: string }[]; waiting: EventData["waiting"] | null;
  usage: Usage | null; metrics: Metrics | null; error: JobError | null; by: string | null; finishReason: string | null;
  readonly ended: boolean; readonly text: string; readonly reasoning: string; readonly refusal: string;
  readonly toolCalls: Part[]; readonly functionCall: Part | null; readonly progress: Progress;
  /** Applies an event. Returns false, and changes nothing, for one that came already. */
  apply(event: JobEvent): boolean;
}

// Errors

/** `retryable`: the same call may succeed later. An aborted call throws the reason of its signal instead. */
export class ReadalongError extends Error { code: string; retryable: boolean }
/** The API refused a call. `retryAfter`: seconds. */
export class ApiError extends ReadalongError { status: number; field: string | null; retryAfter: number | null }
/** `code`: `refused`, `unreachable`, `timeout` or `cut`. */
export class ConnectionError extends ReadalongError {}
export class ProtocolError extends ReadalongError {}
export class JobFailedError extends ReadalongError { jobId: string; transcript: Transcript }
/** The job starts over after text was handed to `onContent`, and there is no `onRestarted`. */
export class RestartedError extends ReadalongError { jobId: string }
export class UsageError extends ReadalongError {}

// Calls

/** Times in milliseconds. */
export interface Tuning {
  /** Unbroken trouble until an error: 10 s for calls, 60 s for streams. `Infinity`: never. `0`: no second try. */
  retryFor?: number;
  /** Silence after which a stream's connection counts as dead: 45 s. */
  silence?: number;
  /** The longest wait between two tries: 5 s. */
  longestWait?: number;
  /** Characters of one event: 64 Mi. */
  maxEventLength?: number;
}
type Headers_ = HeadersInit | undefined;
export interface Address {
  /** The API, or its replicas. A page that the API serves needs none. */
  baseUrl?: string | URL | (string | URL)[];
  /** Headers of each request, or a function that returns them. */
  headers?: Headers_ | (() => Headers_ | Promise<Headers_>);
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
}
export interface CallOptions extends Pick<Tuning, "retryFor" | "longestWait"> { signal?: AbortSignal }
export interface StreamOptions extends Tuning {
  signal?: AbortSignal;
  /** Is called when a connection is made, and with the error when one is lost and will be made again. */
  onLink?: (up: boolean, error: ReadalongError | null) => void;
}
export interface WatchOptions extends StreamOptions {
  /** A `position`, a number of an event, or `latest`. */
  after?: string | number;
  /** Goes on where this transcript is. */
  transcript?: Transcript;
  /** Adds the events `readers`. */
  readers?: boolean;
}
export interface SubmitOptions extends CallOptions { idempotencyKey?: string; /** Seconds to wait for the end. */ wait?: number }
export interface JobOptions extends CallOptions { include?: string; wait?: number }
export interface RequestOptions extends CallOptions { query?: { [name: string]: string | number | boolean | null | undefined }; body?: unknown; headers?: Record<string, string> }
export interface ChatOptions extends StreamOptions, Omit<Parameters, keyof StreamOptions> {
  onJob?: (job: Job) => void;
  /** Gets each piece of text. */
  onContent?: (text: string, transcript: Transcript) => void;
  onEvent?: (event: JobEvent, transcript: Transcript) => void;
  /** The text so far is void. Without it a restart after the first text is a RestartedError. */
  onRestarted?: (data: EventData["restarted"], transcript: Transcript) => void;
  /** Leaving does not cancel the job. */
  keepRunning?: boolean;
  idempotencyKey?: string;
}
type Time = string | number | Date;
export interface JobFilter {
  status?: JobStatus; model?: string; thread?: string; id?: string; metadata?: { [key: string]: Json };
  createdAfter?: Time; createdBefore?: Time; limit?: number; before?: string; next?: string | null;
}
export type ChangeFilter = Pick<JobFilter, "status" | "model" | "thread" | "metadata">;

/** Events, once, by `for await`. Leaving the loop closes the connection; the job goes on. */
export class EventStream<Event> implements AsyncIterableIterator<Event> {
  next(): Promise<IteratorResult<Event, undefined>>;
  return(value?: unknown): Promise<IteratorResult<Event, undefined>>;
  /** Closes the connection, and goes on after the last event: for a computer that has slept. */
  reconnect(): void;
  [Symbol.asyncIterator](): this;
}
export interface JobStream extends EventStream<JobEvent> { readonly jobId: string; readonly transcript: Transcript }

/** An API, or several replicas of it. */
export class Client {
  constructor(options?: Address & Tuning);
  submit(body: JobRequest, options?: SubmitOptions): Promise<Job>;
  job(jobId: string, options?: JobOptions): Promise<Job>;
  jobs(filter?: JobFilter, options?: CallOptions): Promise<JobPage>;
  cancel(jobId: string, options?: CallOptions): Promise<Job>;
  erase(jobId: string, options?: CallOptions): Promise<void>;
  request(method: string, path: string, options?: RequestOptions): Promise<any>;
  watch(jobId: string, options?: WatchOptions): JobStream;
  changes(filter?: ChangeFilter, options?: StreamOptions): EventStream<Change>;
  streamChat(messages: Message[], options?: ChatOptions): Promise<Transcript>;
}

// The methods as functions, for a single call.
export function submit(body: JobRequest, options?: SubmitOptions & Address): Promise<Job>;
export function job(jobId: string, options?: JobOptions & Address): Promise<Job>;
export function jobs(filter?: JobFilter, options?: CallOptions & Address): Promise<JobPage>;
export function cancel(jobId: string, options?: CallOptions & Address): Promise<Job>;
export function erase(jobId: string, options?: CallOptions & Address): Promise<void>;
export function watch(jobId: string, options?: WatchOptions & Address): JobStream;
export function changes(filter?: ChangeFilter, options?: StreamOptions & Address): EventStream<Change>;
export function streamChat(messages: Message[], options?: ChatOptions & Address): Promise<Transcript>;

export interface SseMessage { type: string; data: string | null; id: string | null }
/** Reads server-sent events, however their bytes are split. */
export class EventStreamDecoder {
  constructor(limit?: number);
  retry: number;
  feed(bytes: Uint8Array): SseMessage[];
}
