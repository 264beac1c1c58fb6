"""Rule 2: every client saw the log's events after its position, in order, each once, up to one end."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from tests.chaos.checker.chats import check_chat
from tests.chaos.checker.faces import check_face, check_refusals
from tests.chaos.checker.forgotten import check_forgotten
from tests.chaos.checker.history import Client, History, Job, Seen, Watch
from tests.chaos.checker.jobs import sound
from tests.chaos.checker.log import TERMINAL, Event, epochs_of, joined
from tests.chaos.checker.report import Line, Rule, Violation

#: The allowed responses; None: no response. Any other status answers a fault that the client did not make.
_OPENED = {200, 204, 503, None}
_SUBMITTED = {"jobs": {202, 429, 503, None}, "chat": {200, 429, 503, None}}
_CANCELLED = {202, 503, None}
#: A cancel by Responses of a job that has ended.
_TOO_LATE = 400

#: The statuses of an erased job.
GONE = {404, 410}

#: A fault: the rule, a sentence, and the events that show it.
Wrong = tuple[Rule, str, list[Seen]]


def check_watches(history: History) -> Iterator[Violation]:
    yield from _answers(history)
    yield from check_refusals(history)
    #: The ids that the clients of a job's response were told, by their place.
    ids: dict[str, dict[object, str]] = defaultdict(dict)
    logs = {job.id: job for job in history.jobs.values() if sound(job)}
    for client in history.clients.values():
        # A fault of the log itself is reported once, not for each of its readers.
        if (job := logs.get(client.job)) is not None:
            calls = history.calls_of[job.tag or ""]
            forgot = history.forgot(job)
            faults = list(check_forgotten(client, job, calls) if forgot else _client(client, job, history, ids[job.id]))
            yield from faults
            if not faults and (fault := left_alone(client)) is not None:
                yield fault


def _answers(history: History) -> Iterator[Violation]:
    accepted = history.accepted
    for line in history.submits:
        statuses = _SUBMITTED.get(line.record.get("via", "jobs"))
        if statuses is not None and line.record["status"] not in statuses:
            yield Violation(Rule.ANSWER, None, f"a submit got {line.record['status']}", (line,))
    for line in history.cancels:
        by_us = line.record["via"] == "api" and line.record["job"] in accepted
        allowed = line.record["status"] in _CANCELLED or _gone(history, line) or _too_late(history, line)
        if by_us and not allowed:
            says = f"a cancel got {line.record['status']}"
            yield Violation(Rule.ANSWER, line.record["job"], says, (accepted[line.record["job"]], line))
    for watch in history.watches.values():
        known = watch.job in accepted and not watch.whole  # a whole answer may be the job's error
        if known and watch.open.record["status"] not in _OPENED and not _gone(history, watch.open):
            says = f"a client got {watch.open.record['status']}"
            yield Violation(Rule.ANSWER, watch.job, says, (accepted[watch.job], watch.open))


def _gone(history: History, line: Line) -> bool:
    """Whether a response says that there is no such job, which was to be erased or may be lost."""
    gone = history.asked_to_erase(line.record["job"], line.t) or history.lost(line.record["job"])
    return line.record["status"] in GONE and gone


def _too_late(history: History, line: Line) -> bool:
    """Whether a cancel is told that the job has ended, and it has."""
    job = history.jobs.get(line.record["job"])
    ended = job is not None and job.ended is not None and job.ended <= (line.t or 0.0)
    return line.record["status"] == _TOO_LATE and (ended or history.may_lose(line.t))


def _client(client: Client, job: Job, history: History, ids: dict[object, str]) -> Iterator[Violation]:
    """Checks each connection, and that each continues where the last one ended, or earlier."""
    position, last = client.after, client.begin
    for watch in client.watches:
        if watch.after > position:
            says = f"client {client.name} resumes at {watch.after}, but had reached {position} only"
            yield Violation(Rule.GAP, job.id, says, (last, watch.open))
            return
        if watch.chat:
            fault = check_chat(watch, job)
        elif watch.face:
            fault = check_face(watch, job, history, ids)
        else:
            fault = _refused(watch, job) if watch.open.record["status"] == 204 else _watch(watch, job)
        if fault is not None:
            yield fault
            return
        position = watch.position
        last = watch.events[-1].line(watch.name) if watch.events else watch.open


def left_alone(client: Client) -> Violation | None:
    """The client has its end, unless it was told to leave."""
    if client.end is None or client.end.record["how"] == "gave_up":
        lines = [client.begin, *_last(client), *([] if client.end is None else [client.end])]
        how = "still waits" if client.end is None else "gave up"
        return Violation(Rule.GAVE_UP, client.job, f"client {client.name} {how}", tuple(lines))
    how = client.end.record["how"]
    ended = any(watch.ended for watch in client.watches)
    told = {watch.open.record["status"] for watch in client.watches}
    right = {"terminal": ended, "204": 204 in told, "gone": not told.isdisjoint(GONE)}
    if not right.get(how, True):
        says = f"client {client.name} ended by {how}, which it never saw"
        return Violation(Rule.MISSING_END, client.job, says, (*_last(client), client.end))
    return None


def _last(client: Client) -> list[Line]:
    """Returns the client's last event."""
    if not client.watches:
        return []
    watch = client.watches[-1]
    lines = [watch.open, *(seen.line(watch.name) for seen in watch.events[-1:]), *watch.said[-1:]]
    return lines if watch.close is None else [*lines, watch.close]


def _refused(watch: Watch, job: Job) -> Violation | None:
    """204 is for a position at or beyond the end of an ended job."""
    end = job.ends[0]
    if watch.after < end.id or watch.events:
        says = f"204 at position {watch.after}, before the end, event {end.id}"
        return Violation(Rule.MISSING_END, job.id, says, (watch.open, job.line(end.place)))
    if job.ended is not None and (watch.open.t or 0.0) < job.ended:
        return Violation(Rule.MISSING_END, job.id, "204 before the job had ended", (watch.open, job.line()))
    return None


def _watch(watch: Watch, job: Job) -> Violation | None:
    """Returns the first fault of one connection; later ones may be its consequences."""
    position = watch.after
    epochs = epochs_of(job.log)
    for place, seen in enumerate(watch.events):
        wrong = _next(watch, place, position, job.log)
        if wrong is not None:
            rule, says, shown = wrong
            lines = [other.line(watch.name) for other in shown]
            if rule in (Rule.GAP, Rule.ORDER, Rule.MERGED) or (rule is Rule.REPEAT and place == 0):
                lines.insert(0, watch.open if place == 0 else watch.events[place - 1].line(watch.name))
            if rule not in (Rule.REPEAT, Rule.SECOND_END):
                held = [event.place for event in job.log[position : seen.id]]
                lines.append(job.line(*sorted({*held[:1], *held[-1:]})) if held else job.line(job.log[-1].place))
            return Violation(rule, job.id, f"watch {watch.name}: {says}", tuple(lines))
        if seen.epoch != epochs[seen.id - 1]:
            says = f"watch {watch.name}: event {seen.id} names the epoch {seen.epoch}, not {epochs[seen.id - 1]}"
            return Violation(Rule.BYTES, job.id, says, (seen.line(watch.name), job.line(job.log[seen.id - 1].place)))
        position = seen.id
    if watch.how == "end" and not watch.ended:
        last = [seen.line(watch.name) for seen in watch.events[-1:]] or [watch.open]
        says = f"watch {watch.name} was closed without an end"
        return Violation(Rule.MISSING_END, job.id, says, (*last, *([watch.close] if watch.close else [])))
    return None


def _next(watch: Watch, place: int, position: int, log: Sequence[Event]) -> Wrong | None:
    """Whether the event at `place` follows `position`."""
    seen = watch.events[place]
    if seen.id <= position:
        same = [other for other in watch.events[:place] if other.id >= seen.id][:1]
        return Rule.REPEAT, f"event {seen.id} came again, after position {position}", [*same, seen]
    if place and watch.events[place - 1].type in TERMINAL:
        return Rule.SECOND_END, f"event {seen.id} after the end", [watch.events[place - 1], seen]
    if seen.id > len(log):
        return Rule.BYTES, f"event {seen.id} is not in the log", [seen]
    return _differs(watch, place, position, log)


def _differs(watch: Watch, place: int, position: int, log: Sequence[Event]) -> Wrong | None:
    """Whether the event at `place` has the log's data from `position` to its number."""
    seen = watch.events[place]
    covered = log[position : seen.id]
    merged = len(covered) > 1
    if not merged and (seen.type, seen.data) == (covered[0].type, covered[0].typed):
        return None
    expected, said = joined(covered), _parsed(seen)
    if merged and said is not None and said == expected and seen.type == said["type"]:
        return None
    if (after := _after(said, seen, log)) is not None and after != position:
        return _elsewhere(watch, place, position, after)
    if merged and expected is not None:
        return Rule.MERGED, f"event {seen.id} is not what the events {position + 1} to {seen.id} say", [seen]
    return Rule.BYTES, f"event {seen.id} is not the log's", [seen]


def _elsewhere(watch: Watch, place: int, position: int, after: int) -> Wrong:
    """The event at `place` is whole and right, but follows another position."""
    seen = watch.events[place]
    if after < position:
        says = f"event {seen.id} begins again at {after + 1}, after position {position}"
        return Rule.REPEAT, says, [*watch.events[:place][-1:], seen]
    for late in watch.events[place:]:
        if position < late.id <= after:
            return Rule.ORDER, f"event {late.id} came after event {seen.id}", [seen, late]
    return Rule.GAP, f"event {seen.id} begins at {after + 1}, after position {position}", [seen]


def _after(said: dict[str, Any] | None, seen: Seen, log: Sequence[Event]) -> int | None:
    """Returns the position that an event follows by its data; None if the log has no such data up to there."""
    last = log[seen.id - 1]
    if (seen.type, seen.data) == (last.type, last.typed):
        return last.id - 1
    if said is None or seen.type != last.type or not isinstance(said.get("content"), str):
        return None
    text = said["content"]
    rest = len(text)
    for event in reversed(log[: seen.id]):
        both = joined([event, last])
        piece = event.fields.get("content")
        if both is None or not isinstance(piece, str) or not text[:rest].endswith(piece):
            return None
        rest -= len(piece)
        if rest == 0 and event is not last:
            return event.id - 1 if said == {**both, "content": text} else None
    return None


def _parsed(seen: Seen) -> dict[str, Any] | None:
    try:
        said = json.loads(seen.data)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None
