"""Rules 1, 4 and 8: each accepted job ended once, its attempts rise, and its keys have a time to live."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.checker.history import History, Job
from tests.chaos.checker.log import TERMINAL, VOIDS
from tests.chaos.checker.report import Rule, Violation


def check_jobs(history: History) -> Iterator[Violation]:
    for job_id, accepted in history.accepted.items():
        if job_id not in history.jobs and not (history.erased(job_id) or history.lost(job_id)):
            yield Violation(Rule.LOST_JOB, job_id, "it was accepted, and Redis does not have it", (accepted,))
    for job in history.jobs.values():
        fault = _log(job) or _end(job) or (_rising(job) if history.forgot(job) else _attempts(job))
        if fault is not None:
            accepted_by = history.accepted.get(job.id)
            lines = fault.lines if accepted_by is None else (accepted_by, *fault.lines)
            yield Violation(fault.rule, job.id, fault.says, lines)
        for name, ttl in job.ttl.items():
            if ttl is None or ttl <= 0:
                says = f"the key of its {name} has no time to live"
                yield Violation(Rule.TTL, job.id, says, (job.line()._replace(record={"job": job.id, "ttl": job.ttl}),))


def sound(job: Job) -> bool:
    """Whether its log can be compared with its clients."""
    return _log(job) is None and _end(job) is None


def _log(job: Job) -> Violation | None:
    """The numbers are 1, 2, 3, …, as many as the hash says."""
    if job.broken is not None:
        places = (job.broken.place - 1, job.broken.place) if job.broken.place else (0,)
        return Violation(Rule(job.broken.rule), job.id, job.broken.says, (job.line(*places),))
    last, said = len(job.log), int(job.hash["last_seq"])
    if not job.log:
        return Violation(Rule.GAP, job.id, f"its log is empty, its hash says {said}", (job.line(),))
    if last != said and job.ends:
        says = f"its log ends at {last}, its hash says {said}"
        return Violation(Rule.GAP, job.id, says, (job.line(), job.line(job.log[-1].place)))
    return None


def _end(job: Job) -> Violation | None:
    """One terminal event, at the very end; the hash agrees."""
    status, ends = job.hash["status"], job.ends
    last = job.line(job.log[-1].place)
    if not ends:
        rule = Rule.MISSING_END if status in TERMINAL else Rule.NEVER_ENDED
        return Violation(rule, job.id, f"it is {status}, and its log has no end", (job.line(), last))
    if len(ends) > 1 or job.log[-1] is not ends[0]:
        says = f"its log continues after its end, event {ends[0].id}"
        return Violation(Rule.SECOND_END, job.id, says, (job.line(ends[0].place, job.log[ends[0].id].place),))
    if status != ends[0].type or job.ended is None:
        says = f"its hash says {status}, its log {ends[0].type}"
        return Violation(Rule.STATUS, job.id, says, (job.line(), last))
    return None


def _attempts(job: Job) -> Violation | None:
    """`queued`, then `started` with 1, then `restarted` with 2, 3, …; no text before the start."""
    attempt = 0
    for place, event in enumerate(job.log):
        match event.type:
            case "queued":
                right = place == 0
            case "started":
                attempt += 1
                right = place > 0 and attempt == event.fields["attempt"] == 1
            case "restarted":
                attempt += 1
                right = attempt == event.fields["attempt"] > 1
            case "cancelled" | "failed":
                right = place > 0
            case _:
                right = attempt > 0
        if not right:
            says = f"event {event.id}, {event.type}, cannot come in attempt {attempt}"
            return Violation(Rule.ATTEMPTS, job.id, says, (job.line(*_around(job, event.place)),))
    # A claim that only writes the end is an attempt without an event.
    if int(job.hash["attempt"]) < attempt:
        says = f"its log has {attempt} attempts, its hash {job.hash['attempt']}"
        return Violation(Rule.ATTEMPTS, job.id, says, (job.line(), job.line(job.begun[-1].place)))
    return None


def _rising(job: Job) -> Violation | None:
    """Redis lost some of the attempts: the numbers of the others rise, and no text is before them."""
    attempt = 0
    for event in job.log:
        void = attempt == 0 and event.type == "content" and event.fields["content"] != ""
        if void or (event.type in VOIDS and event.fields["attempt"] <= attempt):
            says = f"event {event.id}, {event.type}, cannot come in attempt {attempt}"
            return Violation(Rule.ATTEMPTS, job.id, says, (job.line(*_around(job, event.place)),))
        if event.type in VOIDS:
            attempt = event.fields["attempt"]
    return None


def _around(job: Job, place: int) -> list[int]:
    """Returns the entries that an attempt's number must follow: starts of earlier attempts, and itself."""
    before = [event.place for event in job.begun if event.place < place]
    return [*before[-1:], place]
