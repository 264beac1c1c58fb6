"""Rule 2 for `POST /chat/stream`: its data lines, which have no numbers, match the log from its start."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from tests.chaos.checker.history import DONE, Job, Watch
from tests.chaos.checker.log import TERMINAL, Event
from tests.chaos.checker.report import Line, Rule, Violation

_TEXTS: Final = frozenset({"content", "reasoning", "refusal"})
#: Events that are shown whole, under their own name.
_WHOLE: Final = frozenset({"tool_call", "function_call", "restarted"})


class Shown(NamedTuple):
    """The meaning of one data line: `name` is its kind, `value` the text or the object."""

    name: str
    choice: int | None
    value: Any

    def goes_on(self, other: Shown) -> bool:
        """Whether both are text that may be joined."""
        return self.name in _TEXTS and self[:2] == other[:2]


def check_chat(watch: Watch, job: Job) -> Violation | None:
    """Returns the first fault of one response."""
    expected = _joined(_of_log(job.log))
    place, offset = 0, 0
    for number, line in enumerate(watch.said):
        if place and expected[place - 1].name == DONE:
            return _violation(Rule.SECOND_END, watch, job, number, "goes on after its end")
        shown = _of_line(line.record["data"])
        if shown is not None and shown.value == "" and shown.name in _TEXTS:
            continue
        # A complete event ends the pending text.
        if offset == len(expected[place].value) and offset and shown is not None and not shown.goes_on(expected[place]):
            place, offset = place + 1, 0
        if shown is None or not _fits(shown, expected[place], offset):
            rule, says = _astray(shown, expected, place, offset)
            return _violation(rule, watch, job, number, says)
        if shown.name in _TEXTS:
            offset += len(shown.value)
        else:
            place, offset = place + 1, 0
    if watch.how == "end" and not watch.ended:
        return _violation(Rule.MISSING_END, watch, job, len(watch.said) - 1, "was closed without an end")
    return None


def _of_log(log: Iterable[Event]) -> Iterator[Shown]:
    """Returns the lines of a log's events. Events of some types are not shown."""
    for event in log:
        fields = event.fields
        if event.type in _TEXTS and fields["content"]:
            yield Shown(event.type, fields.get("choice") or None, fields["content"])
        elif event.type in _WHOLE:
            yield Shown(event.type, None, fields)
        elif event.type == "failed":
            yield Shown("error", None, fields["error"])
        elif event.type == "cancelled":
            yield Shown("cancelled", None, {"by": fields["by"]})
        if event.type in TERMINAL:
            yield Shown(DONE, None, "")


def _joined(shown: Iterable[Shown]) -> list[Shown]:
    found: list[Shown] = []
    texts: list[list[str]] = []
    for one in shown:
        if found and one.goes_on(found[-1]):
            texts[-1].append(one.value)
        else:
            found.append(one)
            texts.append([one.value] if one.name in _TEXTS else [])
    return [one._replace(value="".join(text)) if text else one for one, text in zip(found, texts, strict=True)]


def _of_line(data: str) -> Shown | None:
    """Returns None for a line without a meaning."""
    if data == DONE:
        return Shown(DONE, None, "")
    try:
        fields = json.loads(data)
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    if len(fields) > 1 and fields.get("content") == "":
        # Each line has a text, for front ends that append it; it is empty beside other fields.
        del fields["content"]
    elif "content" not in fields:
        return None
    choice = None
    if isinstance(other := fields.get("choice"), dict) and len(fields) == 1:
        fields = dict(other)
        choice = fields.pop("index", None)
    if len(fields) != 1:
        return None
    [(name, value)] = fields.items()
    right = isinstance(value, str if name in _TEXTS else dict)
    return Shown(name, choice, value) if right else None


def _fits(shown: Shown, expected: Shown, offset: int) -> bool:
    """Whether a line is the expected one; for a text, the part after the offset."""
    if shown.name in _TEXTS:
        return shown.goes_on(expected) and expected.value.startswith(shown.value, offset)
    return shown == expected and not offset


def _astray(shown: Shown | None, expected: list[Shown], place: int, offset: int) -> tuple[Rule, str]:
    """A line out of sequence: an earlier or a later one."""
    if shown is not None and _within(shown, expected[place:], offset):
        return Rule.GAP, "leaves something out"
    if shown is not None and _within(shown, [*expected[:place], _cut(expected[place], offset)], 0):
        return Rule.REPEAT, "has a repeated line"
    return Rule.BYTES, "has a line that the log does not have"


def _within(shown: Shown, among: list[Shown], offset: int) -> bool:
    """Whether one of these lines matches, the first of them after the offset."""
    for place, one in enumerate(among):
        if shown.name not in _TEXTS:
            found = shown == one
        else:
            found = shown.goes_on(one) and shown.value in one.value[0 if place else offset :]
        if found:
            return True
    return False


def _cut(shown: Shown, offset: int) -> Shown:
    return shown._replace(value=shown.value[:offset]) if shown.name in _TEXTS else shown


def _violation(rule: Rule, watch: Watch, job: Job, number: int, says: str) -> Violation:
    """Shown by the line and the one before it."""
    lines: list[Line] = watch.said[max(number - 1, 0) : number + 1]
    return Violation(rule, job.id, f"watch {watch.name}, of /chat/stream, {says}", (watch.open, *lines, job.line()))
