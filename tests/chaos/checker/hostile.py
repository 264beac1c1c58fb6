"""Rule 9: a job of a hostile model ends as documented, an attack gets the documented response, and neither affects
other jobs, or the processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.chaos.checker.excuses import Excuses, hostile_kind
from tests.chaos.checker.history import History, Job
from tests.chaos.checker.jobs import sound
from tests.chaos.checker.log import VOIDS
from tests.chaos.checker.report import Line, Rule, Violation

#: The responses to each attack (docs/security.md, docs/protocol.md). No response and a 503 are always fine.
_ANSWERS: Final[Mapping[str, frozenset[int]]] = {
    "items": frozenset({422}),
    "large": frozenset({422}),
    "values": frozenset({400, 422}),
    "goes-on": frozenset({413}),
    "pipelined": frozenset(),
    "dribble": frozenset(),
    "silent": frozenset(),
    "deaf": frozenset(),
    # The job that it names may be erased, or lost.
    "storm": frozenset({200, 404, 410}),
    "two-ways": frozenset({400, 501}),
    "foreign-host": frozenset({421}),
    "foreign-origin": frozenset({403}),
    "position": frozenset({400, 404, 410}),
    "no-job": frozenset({400, 404}),
    "other-body": frozenset({409}),
    "wild": frozenset({400}),
}


def check_hostile(history: History, excuses: Excuses) -> Iterator[Violation]:
    for job in history.jobs.values():
        if not sound(job):
            continue
        if hostile_kind(job):
            # The rules for all jobs judge the code of its failure.
            if job.hash["status"] == "done":
                says = f"its model is hostile ({hostile_kind(job)}), and it is done"
                yield Violation(Rule.HOSTILE, job.id, says, (job.line(), job.line(job.ends[0].place)))
        elif (fault := _noticed(excuses, job)) is not None:
            yield fault
    for line in history.attacks:
        yield from _attack(history, excuses, line)
    yield from _memory(history)
    yield from _shut(history, excuses)


def _noticed(excuses: Excuses, job: Job) -> Violation | None:
    """A job restarted, or waited for its model, without a reason of its own."""
    pid: int | None = None
    for event in job.log:
        fields = event.fields if event.type in VOIDS or event.type == "waiting" else {}
        reason = str(fields.get("reason"))
        again = event.type == "restarted" and not excuses.restart(job, reason, pid)
        waited = event.type == "waiting" and not excuses.wait(job, reason, pid)
        if again or waited:
            says = f"event {event.id}, {event.type} for {reason}, has no reason of its own"
            lines = (*excuses.disturbances(job), job.line(event.place))
            return Violation(Rule.NOTICED, job.id, says, lines)
        if event.type in VOIDS:
            pid = (fields.get("worker") or {}).get("pid")
    return None


def _attack(history: History, excuses: Excuses, line: Line) -> Iterator[Violation]:
    said, name = line.record, line.record["attack"]
    fine = {*_ANSWERS[name], 503, None}
    if name == "other-body" and history.lost(said.get("job") or "") and said["made"] != said["job"]:
        fine |= {202, 410}  # Redis has lost the claim of the key
    odd = [status for status in said["statuses"] if status not in fine]
    if odd:
        yield Violation(Rule.ATTACK, None, f"the attack {name} got {odd[0]}", (line,))
    elif said.get("closed") is False and not excuses.busy(said["replica"], said["began"], line.t or 0.0):
        yield Violation(Rule.ATTACK, None, f"the connection of the attack {name} was never closed", (line,))


def _memory(history: History) -> Iterator[Violation]:
    bounds: Mapping[str, int] = history.run.get("memory", {})
    for name, most in history.after["memory"].items():
        bound = bounds.get(name.partition("-")[0])
        if bound is not None and most > bound:
            shown = Line("after.json", None, {"memory": {name: most}, "bound": bound})
            yield Violation(Rule.MEMORY, None, f"{name} had {most // 1_000_000} MB in memory", (shown,))


def _shut(history: History, excuses: Excuses) -> Iterator[Violation]:
    """A worker that a model refuses takes jobs again as soon as another model accepts one: for that a job must be
    submitted.
    """
    last = max((line.t or 0.0 for line in history.submits), default=0.0)
    times: list[dict[str, Any]] = history.after["shut"]
    for shut in times:
        until = min(last, last if shut["until"] is None else shut["until"])
        if until > excuses.shut_until(shut["t"], shut["worker"]):
            says = f"{shut['worker']} took no jobs for {until - shut['t']:.1f} s for {shut['code']}"
            yield Violation(Rule.SHUT, None, says, (Line("after.json", shut["t"], shut),))
