// What a job's metadata say of a conversation: its question, and the turn before it. Pure but for `inspect`: no DOM.

/** Turns that a link shows, with its own. Who submits a job says what came before it, and could do so without end. */
export const MOST = 50;

export const LEFT_OUT = `Only the last ${MOST} turns are shown, and sent to the model.`;
export const NOT_KEPT = "Earlier turns are no longer kept.";

// The API takes 16 pairs of metadata, each of 512 characters.
const PARTS = 15;
const PART = 512;
const nameOf = (part) => (part ? `question_${part + 1}` : "question");

/** So that the link shows the question, and the turns before it. A question of more than 7680 characters is cut there. */
export function metadata(question, previous) {
  const letters = Array.from(question); // not in the midst of a pair of surrogates
  if (letters.length > PARTS * PART) letters.splice(PARTS * PART - 1, Infinity, "…");
  const made = previous ? { previous } : {};
  for (let part = 0; part * PART < letters.length; part += 1) {
    made[nameOf(part)] = letters.slice(part * PART, (part + 1) * PART).join("");
  }
  return made;
}

export function questionOf(job) {
  return Array.from({ length: PARTS }, (_, part) => told(job, nameOf(part))).join("");
}

/** The jobs before this one, newest first; at their end the reason why there are no more, or null. */
export async function* before(job, inspect) {
  const seen = new Set([job.id]); // it could be a circle
  for (let id = told(job, "previous"); id && !seen.has(id); id = told(job, "previous")) {
    if (seen.size === MOST) return LEFT_OUT;
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

/** Metadata are any client's JSON: only text counts. */
function told(job, name) {
  const value = job.metadata?.[name];
  return typeof value === "string" ? value : "";
}
