// The errors. An aborted call throws the reason of its signal instead.

/** The base of all errors. `retryable`: the same call may succeed later. */
export class ReadalongError extends Error {
  constructor(message, { code, retryable = false, cause, ...fields }) {
    super(message, { cause });
    Object.assign(this, { code, retryable }, fields);
  }
}
/** The API refused a call: `status`, `code`, `field`, and `retryAfter` in seconds or null. */
export class ApiError extends ReadalongError {}
/** There was no response, or a stream broke, for longer than `retryFor`. */
export class ConnectionError extends ReadalongError {}
/** The response is not that of a readalong API, or is longer than a limit. */
export class ProtocolError extends ReadalongError {}
/** The job `jobId` failed. `transcript` holds what it said before. */
export class JobFailedError extends ReadalongError {}
/** The job `jobId` starts over: the text that was handed out is void, and there is no `onRestarted`. */
export class RestartedError extends ReadalongError {}
/** The program calls the library in a wrong way. */
export class UsageError extends ReadalongError {}
// A bundler may rename the classes.
const ERRORS = { ReadalongError, ApiError, ConnectionError, ProtocolError, JobFailedError, RestartedError, UsageError };
for (const [name, type] of Object.entries(ERRORS)) type.prototype.name = name;

export const misuse = (message) => new UsageError(message, { code: "usage" });
export const unreadable = (message, cause, retryable = false) =>
  new ProtocolError(message, { code: "protocol_error", retryable, cause });
export const lost = (code, message, cause) => new ConnectionError(message, { code, retryable: true, cause });
export const reasonOf = (signal) => signal.reason ?? new DOMException("The operation was aborted.", "AbortError");
export const throwIfAborted = (signal) => {
  if (signal?.aborted) throw reasonOf(signal);
};
