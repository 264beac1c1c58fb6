"""An erased job is gone from Redis and from the model, and all its watchers were told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import inf
from typing import Final

from tests.chaos.checker.excuses import Excuses
from tests.chaos.checker.history import Client, History
from tests.chaos.checker.log import TERMINAL
from tests.chaos.checker.report import Line, Rule, Violation
from tests.chaos.checker.watches import GONE, left_alone

#: Faults that delay a command beyond its client's time-out.
_LATE: Final = frozenset({"proxy_late", "proxy_slow", "redis_stop"})
#: arq's counter, and the claim of an Idempotency-Key whose job is not written.
_BY_ONE_COMMAND: Final = re.compile(r"arq:retry:(\S+)|readalong:idempotency:\w+: (\S+) \w+")


def check_erased(history: History, excuses: Excuses) -> Iterator[Violation]:
    accepted = history.accepted
    for job_id, lines in history.erases_of.items():
        yield from _answers(history, job_id, lines)
        over = next((line for line in lines if line.record["status"] in {204, *GONE}), None)
        if over is not None:
            if job_id in history.jobs and history.may_lose(over.t):
                continue  # Redis lost the erase
            if job_id in history.jobs:
                says = "it was erased, and Redis still has it"
                yield Violation(Rule.LEAK, job_id, says, (over, history.jobs[job_id].line()))
            elif job_id in accepted:
                yield from _calls(history, excuses, accepted[job_id], over)
    for client in history.clients.values():
        if history.erased(client.job) or (client.job not in history.jobs and history.lost(client.job)):
            fault = _client(client) or left_alone(client)
            if fault is not None:
                yield fault
    for trace in history.after.get("traces", ()):
        if not (_came_late(history, trace) or _came_back(history, trace)):
            yield Violation(Rule.LEAK, None, f"left of an erased job: {trace}", ())


def _came_late(history: History, trace: str) -> bool:
    """Whether the key expires by itself: a command that ran at the same time as the erase wrote it.

    A client that gives up a connection sends its commands again, and the network may deliver both.
    """
    found = _BY_ONE_COMMAND.fullmatch(trace)
    erases = history.erases_of.get(found[1] or found[2], ()) if found else ()
    return any(
        (fault.t or 0.0) <= (line.t or 0.0) and (fault.record.get("until") or inf) >= line.record["asked"]
        for fault in history.faults
        if fault.record["kind"] in _LATE
        for line in erases
    )


def _came_back(history: History, trace: str) -> bool:
    """Whether the key belongs to a job whose erase Redis lost, or whose record: only that says the names of the model
    and of the key that list the job. The sweep clears the one, and the other has a time to live."""
    return any(
        job_id in trace and (history.lost(job_id) or any(history.may_lose(line.t) for line in lines))
        for job_id, lines in history.erases_of.items()
    )


def _answers(history: History, job_id: str, lines: list[Line]) -> Iterator[Violation]:
    """The first erase finds the job; an erase without a response may have erased it."""
    unclear = False
    for line in lines:
        status = line.record["status"]
        there = not unclear and not history.lost(job_id)
        if status not in {204, 503, None} and not (status in GONE and not there):
            yield Violation(Rule.ANSWER, job_id, f"an erase got {status}", (line,))
        unclear = unclear or status in {503, None}


def _calls(history: History, excuses: Excuses, accepted: Line, over: Line) -> Iterator[Violation]:
    """At its erase no call of the job is open at the model, of any worker."""
    for call in history.calls_of[accepted.record["tag"]]:
        closed = None if call.closed is None else call.closed.t
        due = over.t or 0.0
        if closed is not None and not call.refused and closed > excuses.close_by(due, None):
            says = f"a connection to the model was closed {closed - due:.3f} s after the job was erased"
            yield Violation(Rule.OUTLIVED, accepted.record["job"], says, (call.request, over, *_line(call.closed)))


def _client(client: Client) -> Violation | None:
    """No log is left to compare with; but the numbers rise, and no event follows an end."""
    for watch in client.watches:
        position, ended = watch.after, False
        for place, seen in enumerate(watch.events):
            lines = (
                *(other.line(watch.name) for other in watch.events[max(place - 1, 0) : place]),
                seen.line(watch.name),
            )
            if ended:
                return Violation(
                    Rule.SECOND_END, client.job, f"watch {watch.name}: event {seen.id} after the end", lines
                )
            if seen.id <= position and not seen.log_lost:
                says = f"watch {watch.name}: event {seen.id} came again, after position {position}"
                return Violation(Rule.REPEAT, client.job, says, lines)
            position, ended = seen.id, seen.type in TERMINAL
        if watch.open.record["status"] == 200 and watch.how == "end" and not watch.ended:
            says = f"watch {watch.name} was closed without an end"
            return Violation(Rule.MISSING_END, client.job, says, (watch.open, *_line(watch.close)))
    return None


def _line(line: Line | None) -> tuple[Line, ...]:
    return () if line is None else (line,)
