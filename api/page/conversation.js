// The conversation in jobs: what a turn submits, and how a link finds the turns before it. No DOM.

/** Turns that a link shows. A submitter chooses the previous job, and could build an endless chain. */
export const MAX_TURNS = 50;

export const LEFT_OUT = `Only the last ${MAX_TURNS} turns are shown.`;
export const NOT_KEPT = "Earlier turns are no longer kept.";

// The API takes 16 pairs of metadata, with values of 512 characters.
const PARTS = 15;
const PART_LENGTH = 512;
const nameOf = (part) => (part ? `question_${part + 1}` : "question");

/** Returns the metadata from which a link shows the turn. A question is cut after 7680 characters. */
export function makeMetadata(question, previous) {
  const letters = Array.from(question); // code points: a cut must not split a surrogate pair
  if (letters.length > PARTS * PART_LENGTH) letters.splice(PARTS * PART_LENGTH - 1, Infinity, "…");
  const made = previous ? { previous } : {};
  for (let part = 0; part * PART_LENGTH < letters.length; part += 1) {
    made[nameOf(part)] = letters.slice(part * PART_LENGTH, (part + 1) * PART_LENGTH).join("");
  }
  return made;
}

/**
 * Returns a turn's body. The server keeps the conversation as a thread: a question goes on in the thread of the last
 * turn if nothing came after it there. Else (an edited question, an answer that failed, a job of another client) it
 * begins the new thread, with what was said before.
 */
export function makeBody(question, earlier, newThread) {
  const asked = { role: "user", content: question };
  const last = earlier.at(-1);
  const goesOn = last?.thread && last.isNewest && last.transcript.status !== "failed";
  return {
    thread: goesOn ? last.thread : newThread,
    thread_policy: "enqueue",
    messages: goesOn ? [asked] : [...earlier.flatMap(said), asked],
    metadata: makeMetadata(question, last?.id),
  };
}

/** Returns the messages of a turn. A failed turn counts for nothing, as in a thread. */
function said({ question, transcript }) {
  if (transcript.status === "failed") return [];
  return [
    ...(question ? [{ role: "user", content: question }] : []),
    ...(transcript.text ? [{ role: "assistant", content: transcript.text }] : []),
  ];
}

/** Returns the question: of this page's metadata, or the last of the request if the job is another client's. */
export function readQuestion(job) {
  const own = Array.from({ length: PARTS }, (_, part) => readText(job, nameOf(part))).join("");
  if (own) return own;
  const asked = job.request?.messages?.findLast?.(({ role }) => role === "user")?.content;
  if (typeof asked === "string") return asked;
  return Array.isArray(asked) ? asked.map(({ text }) => (typeof text === "string" ? text : "")).join("") : "";
}

/**
 * Yields the previous jobs, newest first. Returns why there are no more, or null at the first turn.
 * `listThread(name)` returns the jobs of a thread, newest first: those of other clients do not name the previous one.
 */
export async function* previousJobs(job, inspect, listThread) {
  const seen = new Set([job.id]); // the chain may be a circle
  for (;;) {
    const id = readText(job, "previous") || (readText(job, "question") ? "" : await before(job, listThread));
    if (!id || seen.has(id)) return null;
    if (seen.size === MAX_TURNS) return LEFT_OUT;
    seen.add(id);
    try {
      job = await inspect(id);
    } catch {
      return NOT_KEPT;
    }
    yield job;
  }
}

async function before(job, listThread) {
  if (!job.thread) return "";
  const jobs = await listThread(job.thread);
  return jobs[jobs.findIndex(({ id }) => id === job.id) + 1]?.id ?? "";
}

/** Returns a text of the metadata, which may be any client's JSON. */
function readText(job, name) {
  const value = job.metadata?.[name];
  return typeof value === "string" ? value : "";
}
