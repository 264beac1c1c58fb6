"""OpenAI's chat completions: a client gets the text of one attempt only, and an end that fits the log."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.chaos.checker.history import DONE, Job, Watch
from tests.chaos.checker.log import TERMINAL, VOIDS, Event
from tests.chaos.checker.report import Rule
from tests.chaos.checker.told import Told, Wrong, astray, parsed

_TEXTS: Final = ("content", "reasoning", "refusal")
#: Events with which an answer begins. Before it a client does not hear of a restart.
_SAYS: Final = frozenset({*_TEXTS, "tool_call_delta", "function_call"})
#: OpenAI's own codes of errors, by the job's. Others keep theirs.
_CODES: Final = {"model_rate_limited": "rate_limit_exceeded"}
_REASONING: Final = "reasoning_content"


#: What a client is told when its API stops, or when its job is erased.
_INTERRUPTED: Final = [Told("error", None, "interrupted"), Told(DONE)]


def check(watch: Watch, job: Job, *, interrupted: bool) -> Wrong | None:
    """`interrupted`: the stream may have been closed before its end."""
    if watch.whole:
        return _check_whole(watch, job)
    streams = _streams(job)
    #: Numbers of lines, each as often as it tells something.
    numbers: list[int] = []
    found: list[Told] = []
    for number, line in enumerate(watch.said):
        said = told(line.record["data"], job.id)
        if said is None:
            return Rule.BYTES, "has a line without a meaning", number
        numbers += [number] * len(said)
        found += said
    if interrupted:
        # A client may leave between the two.
        told_so = next((part for part in (_INTERRUPTED, _INTERRUPTED[:1]) if found[-len(part) :] == part), [])
        found = found[: len(found) - len(told_so)]
    expected = max(streams, key=lambda stream: _common(stream, found))
    place = _common(expected, found)
    if place < len(found):
        return *_astray(found[place], streams, expected, place), numbers[place]
    if watch.how == "eof":
        return Rule.MISSING_END, "was ended without an end", len(watch.said) - 1
    return None


def told(data: str, job_id: str) -> list[Told] | None:
    """Returns what a chunk tells; None for a line without a meaning."""
    if data == DONE:
        return [Told(DONE)]
    fields = parsed(data)
    if fields is None:
        return None
    if "error" in fields:
        return [Told("error", None, fields["error"].get("code"))]
    if fields.get("id") != f"chatcmpl-{job_id}" or fields.get("object") != "chat.completion.chunk":
        return None
    found: list[Told] = []
    for choice in fields["choices"]:
        found += _told_of(choice, choice["delta"])
        if choice.get("finish_reason") is not None:
            found.append(Told("finish", choice["index"], choice["finish_reason"]))
    return found


def told_whole(data: str, job_id: str) -> list[Told] | None:
    """Returns what a whole completion tells, or an error in its place; None for something else."""
    fields = parsed(data)
    if fields is None:
        return None
    if "error" in fields:
        return [Told("error", None, fields["error"].get("code"))]
    if fields.get("id") != f"chatcmpl-{job_id}" or fields.get("object") != "chat.completion":
        return None
    found: list[Told] = []
    for choice in fields["choices"]:
        found += _told_of(choice, {**choice["message"], "tool_calls": None})
        found.append(Told("finish", choice["index"], choice["finish_reason"]))
    return found


def _told_of(choice: dict[str, Any], delta: dict[str, Any]) -> list[Told]:
    index = choice["index"]
    texts = {"content": "content", "reasoning": _REASONING, "refusal": "refusal"}
    found = [Told(name, index, delta[field]) for name, field in texts.items() if delta.get(field)]
    calls = [call["function"]["arguments"] for call in delta.get("tool_calls") or ()]
    return found + [Told("call", index, arguments) for arguments in calls if arguments]


def _streams(job: Job) -> list[list[Told]]:
    """Returns what a client may be told: an attempt that has said something, up to its restart, or the last one."""
    attempts: list[list[Event]] = [[]]
    for event in job.log:
        if event.type in VOIDS:
            attempts.append([])
        attempts[-1].append(event)
    lost = [attempt for attempt in attempts[:-1] if any(event.type in _SAYS for event in attempt)]
    restarted = [Told("error", None, "restarted"), Told(DONE)]
    return [*([*told_of_log(attempt), *restarted] for attempt in lost), [*told_of_log(attempts[-1]), Told(DONE)]]


def told_of_log(events: list[Event]) -> list[Told]:
    """Returns what an attempt's events tell: of calls that the model says in turns, the others once all are said."""
    found: list[Told] = []
    #: By choice: the arguments of the calls so far, by index, and those that are told once all are there.
    said: dict[int, dict[int, str]] = {}
    held: dict[int, dict[int, str]] = {}
    for event in events:
        fields = event.fields
        choice = fields.get("choice", 0)
        if event.type in _TEXTS and fields["content"]:
            found.append(Told(event.type, choice, fields["content"]))
        elif event.type == "tool_call_delta":
            index, calls, late = fields["index"], said.setdefault(choice, {}), held.setdefault(choice, {})
            others = [text for other, text in calls.items() if other != index]
            if index in late or (index not in calls and (late or not all(map(_is_json, others)))):
                late[index] = late.get(index, "") + fields["arguments"]
                continue
            calls[index] = calls.get(index, "") + fields["arguments"]
            if fields["arguments"]:
                found.append(Told("call", choice, fields["arguments"]))
        if event.type in ("tool_call", "done"):
            found += [Told("call", place, text) for place, late in held.items() for text in late.values() if text]
            held.clear()
        if event.type in TERMINAL:
            found += _end(event.type, fields)
    return found


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _end(kind: str, fields: dict[str, Any]) -> list[Told]:
    if kind == "cancelled":
        return [Told("error", None, "cancelled")]
    if kind == "failed":
        code = fields["error"]["code"]
        return [Told("error", None, _CODES.get(code, code))]
    reasons = {0: fields.get("finish_reason") or ("tool_calls" if fields.get("tool_calls") else "stop")}
    for other in fields.get("choices", ()):
        reasons[other["choice"]] = other.get("finish_reason") or "stop"
    return [Told("finish", choice, reasons[choice]) for choice in sorted(reasons)]


def _common(stream: list[Told], found: list[Told]) -> int:
    """Returns how many of the first things are the same."""
    pairs = zip(stream, found, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(stream), len(found)))


def _astray(one: Told, streams: list[list[Told]], expected: list[Told], place: int) -> tuple[Rule, str]:
    if one.name in ("error", "finish", DONE) and place < len(expected) and one not in expected:
        return Rule.STATUS, f"ends by {one.name} {one.value}, which is not the job's end"
    if one not in expected and any(one in stream for stream in streams):
        return Rule.MIXED, "has the text of two attempts"
    return astray(one, expected, place)


def _check_whole(watch: Watch, job: Job) -> Wrong | None:
    """The last attempt, each of its texts in one piece; of a job that is not done, only the error."""
    expected: dict[tuple[str, Any], str] = {}
    for one in _streams(job)[-1][:-1]:
        if one.name != "call":
            expected[one.name, one.place] = expected.get((one.name, one.place), "") + one.value
    if job.hash["status"] != "done":
        expected = {key: value for key, value in expected.items() if key[0] == "error"}
    for number, line in enumerate(watch.said):
        said = told_whole(line.record["data"], job.id)
        if said is None:
            return Rule.BYTES, "has no meaning", number
        found = {(one.name, one.place): one.value for one in said}
        if ("error", None) in found or ("error", None) in expected:
            if found != expected:
                return Rule.STATUS, f"says {found}, and the job's end is {expected}", number
        elif found != expected:
            return Rule.CONTENT, "is not the text of the job", number
    return None
