"""Rule 2 for clients of OpenAI's chat completions and Responses, and of the AI SDK: each stream is what its face makes
of the log, from the client's position on (docs/openai.md, docs/openai-responses.md, docs/ai-sdk.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from tests.chaos.checker import face_ai_sdk, face_chat, face_responses
from tests.chaos.checker.history import DONE, RESPONSE_ENDS, Call, History, Job, Watch
from tests.chaos.checker.report import Line, Rule, Violation
from tests.chaos.checker.told import Told, Wrong, text_of

#: Statuses of OpenAI's errors that a job's end causes.
_OF_JOBS = frozenset({400, 404, 409, 429, 502, 503, 504})


def check_face(watch: Watch, job: Job, history: History, ids: dict[object, str]) -> Violation | None:
    """Returns the first fault of one connection. `ids`: those that all clients of the job were told, by their place."""
    found: Wrong | None
    interrupted = watch.how in ("end", "eof", "left") and _interrupted(watch, history)
    match watch.form:
        case "openai":
            found = face_chat.check(watch, job, interrupted=interrupted)
        case "responses":
            found = face_responses.check(watch, job, ids)
        case _:
            found = face_ai_sdk.check(watch, job)
    if found is None and watch.how == "end" and not watch.ended and watch.open.record["status"] == 200:
        found = Rule.MISSING_END, "was closed without an end", len(watch.said) - 1
    if found is None and watch.how == "eof" and not interrupted:
        found = Rule.MISSING_END, "was ended without an end, and no process stopped", len(watch.said) - 1
    idle = watch.open.record["status"] == 204
    if found is None and idle and job.ended is not None and (watch.open.t or 0.0) < job.ended:
        found = Rule.MISSING_END, "was told that nothing runs, before the job had ended", -1
    return None if found is None else _violation(watch, job, *found)


def _interrupted(watch: Watch, history: History) -> bool:
    """Whether its API was told to stop before it was closed, or its job to be erased."""
    begun = watch.open.t or 0.0
    closed = begun if watch.close is None else watch.close.t or 0.0
    target = f"api-{watch.open.record['replica']}"
    for line in history.faults:
        if line.record["kind"] == "api_drain" and line.record["target"] == target:
            until = line.record["until"] or closed
            if (line.t or 0.0) <= closed and until >= begun:
                return True
    return history.asked_to_erase(watch.job, closed)


def check_forgotten_face(watch: Watch, job: Job, calls: Sequence[Call]) -> Violation | None:
    """Where Redis lost events of the job: each attempt's text is that of one call, and nothing follows an end."""
    texts: list[str] = [""]
    # A client that came back does not see again how the text began that goes on.
    refuses = watch.form == "ai_sdk" and watch.after > 0 and any(event.type == "refusal" for event in job.log)
    for number, line in enumerate(watch.said):
        told = _told(watch, line)
        if told is None:
            return _violation(watch, job, Rule.BYTES, "has a line without a meaning", number)
        for one in told:
            if one.name in ("reset-step", "response.in_progress"):
                texts.append("")
            elif one.name == "text-start":
                refuses = one.value == face_ai_sdk.REFUSAL
            elif not refuses:
                texts[-1] += text_of(one)
        ends = line.record["data"] == DONE
        if watch.form == "responses":
            ends = any(one.name in RESPONSE_ENDS for one in told)
        if ends and number + 1 < len(watch.said):
            return _violation(watch, job, Rule.SECOND_END, "goes on after its end", number + 1)
    if any(call.closed is None and not call.refused for call in calls):
        return None
    for text in texts:
        if text and not any(text in call.text for call in calls):
            return _violation(watch, job, Rule.MIXED, "has a text that no call has sent", len(watch.said) - 1)
    return None


def check_refusals(history: History) -> Iterator[Violation]:
    """An error has the face's form, and says rightly whether to repeat the request."""
    for line in history.submits:
        said = line.record
        if said.get("via") not in ("openai", "responses", "ai_sdk") or said["status"] in (200, None):
            continue
        ended = said["via"] == "openai" and said["job"] is not None
        right = said["status"] in (_OF_JOBS if ended else {429, 503})
        if said["via"] == "ai_sdk":
            right = right and str(said["form"]).startswith("text/plain") and not said["says"].startswith("{")
        else:
            right = right and _is_openai_error(said["says"]) and said["again"] == ("false" if ended else "true")
        if not right:
            yield Violation(Rule.ANSWER, said["job"], f"a submit by {said['via']} got {said['status']}", (line,))


def _is_openai_error(body: str) -> bool:
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return False
    texts = isinstance(error.get("message"), str) and isinstance(error.get("type"), str)
    return texts and {"param", "code"} <= error.keys()


def _told(watch: Watch, line: Line) -> list[Told] | None:
    data = line.record["data"]
    match watch.form:
        case "openai":
            return face_chat.told_whole(data, watch.job) if watch.whole else face_chat.told(data, watch.job)
        case "responses":
            one = face_responses.told_whole(data) if watch.whole else face_responses.told(data)
        case _:
            one = face_ai_sdk.told(data)
    return None if one is None else [one]


def _violation(watch: Watch, job: Job, rule: Rule, says: str, number: int) -> Violation:
    """Shown by the line and the one before it."""
    lines = watch.said[max(number - 1, 0) : number + 1]
    return Violation(rule, job.id, f"watch {watch.name}, of {watch.form}, {says}", (watch.open, *lines, job.line()))
