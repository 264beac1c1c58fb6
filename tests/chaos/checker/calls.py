"""Rule 6: no connection to the model outlives its job, or its attempt, by more than a second."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.chaos.checker.excuses import Excuses, pids_of
from tests.chaos.checker.history import Call, History, Job
from tests.chaos.checker.report import Line, Rule, Violation
from tests.chaos.checker.texts import Attempt, attempts_of


def check_calls(history: History, excuses: Excuses) -> Iterator[Violation]:
    # Redis may lose the claim of a key: then one submit makes two jobs.
    jobs_of: dict[str, list[Job]] = defaultdict(list)
    for job in history.jobs.values():
        jobs_of[job.tag or ""].append(job)
    for tag, calls in history.calls_of.items():
        jobs = jobs_of[tag]
        attempts = [[] if history.forgot(job) else attempts_of(job, calls) for job in jobs]
        for call in calls:
            if call.refused:
                continue
            if call.closed is None:
                says = "a connection to the model was never closed"
                yield Violation(Rule.OUTLIVED, jobs[0].id if jobs else None, says, (call.request,))
                continue
            found = [_late(history, excuses, job, call, its) for job, its in zip(jobs, attempts, strict=True)]
            faults = [fault for fault in found if fault is not None]
            if faults and len(faults) == len(jobs):
                yield faults[0]


def _late(history: History, excuses: Excuses, job: Job, call: Call, attempts: Sequence[Attempt]) -> Violation | None:
    assert call.closed is not None
    pids = pids_of(job)
    for attempt in attempts:
        if attempt.call is call:
            worker = attempt.begin.fields.get("worker") or {}
            pids = frozenset({worker["pid"]}) if "pid" in worker else pids
    closed = call.closed.t or 0.0
    for due, why in _due(history, job, call, attempts):
        if closed > excuses.close_by(due, pids):
            says = f"a connection to the model was closed {closed - due:.3f} s after its time"
            return Violation(Rule.OUTLIVED, job.id, says, (call.request, why, call.closed))
    return None


def _due(history: History, job: Job, call: Call, attempts: Sequence[Attempt]) -> Iterator[tuple[float, Line]]:
    """Returns the latest time for the end of the call, and the line that sets it."""
    if job.ended is not None:
        yield job.ended, job.line()
    mine = next((place for place, attempt in enumerate(attempts) if attempt.call is call), None)
    for place, attempt in enumerate(attempts):
        if mine is not None and place > mine:
            # The next attempt started before that was known, and before it made a call.
            seen = [
                event
                for watch in history.watches_of[job.id]
                for event in (seen.line(watch.name) for seen in watch.events if seen.id == attempt.begin.id)
            ]
            if seen:
                first = min(seen, key=lambda line: line.t or 0.0)
                yield first.t or 0.0, first
        # An attempt closes each call before the next, so a later call of the same or a later attempt ends this one.
        # Only a call whose text is in the log is surely not a zombie's.
        if attempt.call is not None and attempt.call is not call and attempt.call.t > call.t:
            yield attempt.call.t, attempt.call.request
