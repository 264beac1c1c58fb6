"""Rule 5: one job and one bill for each submit, and no end without a reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from math import ceil
from typing import Final

from tests.chaos.checker.excuses import Excuses, asked, misbehaves
from tests.chaos.checker.history import History, Job
from tests.chaos.checker.jobs import sound
from tests.chaos.checker.report import Line, Rule, Violation

#: Seconds in which an answer and its client's leaving cross.
_CROSSES: Final = 1.0


def check_bill(history: History, excuses: Excuses) -> Iterator[Violation]:
    yield from _two_jobs(history, excuses)
    yield from _calls(history)
    for job in history.jobs.values():
        if not sound(job):
            continue
        match job.hash["status"]:
            case "failed":
                fault = _failed(history, excuses, job)
            case "cancelled":
                fault = _cancelled(history, excuses, job)
            case _:
                fault = None
        fault = fault or _cancel_lost(history, excuses, job)
        if fault is not None:
            yield fault


def _two_jobs(history: History, excuses: Excuses) -> Iterator[Violation]:
    """One job for each tag and for each key, named by a reply or found in Redis.

    A repeat without a key may be a job of its own if the first one was cancelled, as its client was gone.
    """
    live = Counter(job.tag for job in history.jobs.values() if job.hash["status"] != "cancelled")
    again = {
        line.record["tag"]
        for line in history.submits
        if line.record["key"] is None and (live[line.record["tag"]] <= 1 or _held_back(history, excuses, line))
    }
    jobs_of: dict[str, dict[str, Line]] = defaultdict(dict)
    for line in history.submits:
        # If Redis lost data while it accepted the submit, the key may be lost and the job not.
        if line.record["job"] is not None and not history.lost(line.record["job"]):
            for name in (f"tag {line.record['tag']}", f"key {line.record['key'] or line.record['tag']}"):
                jobs_of[name].setdefault(line.record["job"], line)
    for job in history.jobs.values():
        if job.tag is None:
            yield Violation(Rule.BILL, job.id, "no submit created it", (job.line(),))
        elif not history.lost(job.id):
            jobs_of[f"tag {job.tag}"].setdefault(job.id, job.line())
    told: set[frozenset[str]] = set()
    for name, found in jobs_of.items():
        if name.partition(" ")[2] in again:
            continue
        if len(found) > 1 and frozenset(found) not in told:
            told.add(frozenset(found))
            yield Violation(Rule.TWO_JOBS, None, f"{name} created {len(found)} jobs", tuple(found.values()))


def _held_back(history: History, excuses: Excuses, line: Line) -> bool:
    """Whether a submit without a key may have reached Redis behind its repeat, or its answer was on its way when the
    client had left: then the repeat is a job of its own (docs/decisions/0033).
    """
    said, t = line.record, line.t or 0.0
    if said["status"] not in (None, 503):
        return False
    ends = [job.ended for job in history.jobs.values() if job.tag == said["tag"] and job.ended is not None]
    answered = any(said["asked"] <= end <= t + _CROSSES for end in ends)
    return said["late"] or answered or excuses.held_back(said["replica"], said["asked"], t) or history.may_lose(t)


def _calls(history: History) -> Iterator[Violation]:
    """At most the first call of each attempt and its retries; with the model's patience, four more a second."""
    each = 1 + int(history.run.get("model_retries", 2)) + ceil(4 * float(history.run.get("model_patience", 0)))
    # The number of those attempts is unknown.
    erased = {line.record["tag"] for job_id, line in history.accepted.items() if history.erased(job_id)}
    erased |= {line.record["tag"] for line in history.submits if history.may_lose(line.t)}
    erased |= {job.tag for job in history.jobs.values() if job.tag is not None and history.forgot(job)}
    jobs_of: dict[str, list[Job]] = defaultdict(list)
    for job in history.jobs.values():
        jobs_of[job.tag or ""].append(job)
    for tag, calls in history.calls_of.items():
        if tag in erased:
            continue
        jobs = jobs_of[tag]
        begun = [job.line(*(event.place for event in job.begun)) for job in jobs if job.begun]
        attempts = sum(len(job.begun) for job in jobs)
        if len(calls) > attempts * each and all(job.broken is None for job in jobs):
            says = f"{len(calls)} calls of the model for {attempts} attempts, tag {tag}"
            lines = (*(call.request for call in calls), *begun)
            yield Violation(Rule.BILL, jobs[0].id if jobs else None, says, lines)


def _failed(history: History, excuses: Excuses, job: Job) -> Violation | None:
    end = job.ends[0]
    code = str((end.fields.get("error") or {}).get("code"))
    if excuses.failure(job, code):
        return None
    calls, faults = history.calls_of[job.tag or ""], excuses.disturbances(job)
    lines = (*(call.request for call in calls), *faults, job.line(), job.line(end.place))
    if faults or misbehaves(job, calls) or asked(history, job):
        return Violation(Rule.FAILURE, job.id, f"nothing explains its failure with {code}", lines)
    return Violation(Rule.UNDISTURBED, job.id, f"it failed with {code} without a fault", lines)


def _cancelled(history: History, excuses: Excuses, job: Job) -> Violation | None:
    # An erase begins with a cancel; Redis may have kept the cancel and lost the rest.
    half_erased = any(history.may_lose(line.t) for line in history.erases_of.get(job.id, ()))
    # Redis may have lost the job's turn in its thread, and kept the job.
    lost_turn = job.ends[0].fields.get("by") == "thread" and history.forgot(job)
    if asked(history, job) or half_erased or lost_turn or excuses.orphaned(job):
        return None
    return Violation(Rule.CANCELLED, job.id, "no cancel was requested", (job.line(), job.line(job.ends[0].place)))


def _cancel_lost(history: History, excuses: Excuses, job: Job) -> Violation | None:
    """An accepted cancel takes effect, unless the end was on its way."""
    if job.hash["status"] == "cancelled" or job.ended is None:
        return None
    for line in asked(history, job):
        heard = line.record["status"] == 202 and line.t is not None
        if heard and not history.may_lose(line.t) and job.ended > excuses.heed_by(line.t or 0.0):
            says = f"it was cancelled, and its status is {job.hash['status']}"
            return Violation(Rule.CANCEL_LOST, job.id, says, (line, job.line()))
    return None
