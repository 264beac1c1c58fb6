// The conversation in a job's metadata: its question and the previous job. No DOM.

/** Turns that a link shows. A submitter chooses the previous job, and could build an endless chain. */
export const MAX_TURNS = 50;

export const LEFT_OUT = `Only the last ${MAX_TURNS} turns are shown, and sent to the model.`;
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

export function readQuestion(job) {
  return Array.from({ length: PARTS }, (_, part) => readText(job, nameOf(part))).join("");
}

/** Yields the previous jobs, newest first. Returns why there are no more, or null at the first turn. */
export async function* previousJobs(job, inspect) {
  const seen = new Set([job.id]); // the chain may be a circle
  for (let id = readText(job, "previous"); id && !seen.has(id); id = readText(job, "previous")) {
    if (seen.size === MAX_TURNS) return LEFT_OUT;
    seen.add(id);
    try {
      job = await inspect(id);
    } catch {
      return NOT_KEPT;
    }
    yield job;
  }
  return null;
}

/** Returns a text of the metadata, which may be any client's JSON. */
function readText(job, name) {
  const value = job.metadata?.[name];
  return typeof value === "string" ? value : "";
}
