"""The report of the checker."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

#: Characters of one line of a history that a report shows.
_WIDTH: Final = 240


class Rule(StrEnum):
    """The rules for every run."""

    # 1. Every accepted job ended exactly once.
    LOST_JOB = "lost-job"
    NEVER_ENDED = "never-ended"
    MISSING_END = "missing-end"
    SECOND_END = "second-end"
    STATUS = "status"
    # 2. Every client saw the same numbered events, without gap, repeat or disorder after its position.
    GAP = "gap"
    REPEAT = "repeat"
    ORDER = "order"
    BYTES = "bytes"
    MERGED = "merged"
    LOG_FORM = "log-form"
    MIXED = "mixed"
    GAVE_UP = "gave-up"
    ANSWER = "answer"
    # 3. The text is that of the model in the same attempt.
    CONTENT = "content"
    NOT_SENT = "not-sent"
    OTHER_CALL = "other-call"
    # 4. Attempts rise by one, and no event of a fenced one follows its successor's `restarted`.
    ATTEMPTS = "attempts"
    ZOMBIE = "zombie"
    # 5. One job and one bill for each submit, and no end without a reason.
    TWO_JOBS = "two-jobs"
    BILL = "bill"
    CANCELLED = "cancelled"
    CANCEL_LOST = "cancel-lost"
    FAILURE = "failure"
    UNDISTURBED = "undisturbed"
    # 6. No model connection outlived its attempt by more than a second.
    OUTLIVED = "outlived"
    # 7. Nothing leaked.
    LEAK = "leak"
    # 8. Every key has a time to live.
    TTL = "ttl"
    # 9. A hostile model or client harms only itself.
    HOSTILE = "hostile"
    NOTICED = "noticed"
    SHUT = "shut"
    ATTACK = "attack"
    MEMORY = "memory"


class Line(NamedTuple):
    """A line of a history. `t`: seconds since the epoch; None for data that was read at the end of the run."""

    file: str
    t: float | None
    record: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Violation:
    """`lines` are exactly those that show the violation."""

    rule: Rule
    job: str | None
    says: str
    lines: tuple[Line, ...] = ()

    def text(self, started: float) -> str:
        """For people; times are seconds since `started`."""
        head = f"{self.rule}: job {self.job}: {self.says}" if self.job else f"{self.rule}: {self.says}"
        return "\n".join([head, *(f"    {_shown(line, started)}" for line in in_time(self.lines))])


@dataclass(slots=True)
class Report:
    run: Mapping[str, Any]
    violations: list[Violation] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        found = _number(len(self.violations))
        lines = [f"seed {self.run.get('seed')}: {found}"]
        for name, count in self.counts.items():
            told = ", ".join(f"{key} {value}" for key, value in sorted(count.items())) if _many(count) else count
            lines.append(f"  {name}: {told if told != '' else 'none'}")
        return "\n".join([*lines, *(violation.text(self.run["started"]) for violation in self.violations)])


def in_time(lines: Iterable[Line]) -> list[Line]:
    """Sorts by time; data from the end of the run is last."""
    return sorted(lines, key=lambda line: float("inf") if line.t is None else line.t)


def _number(count: int) -> str:
    return f"{count or 'no'} violation{'s' if count > 1 else ''}"


def _many(count: object) -> bool:
    return isinstance(count, dict)


def _shown(line: Line, started: float) -> str:
    when = "at the end" if line.t is None else f"{line.t - started:+.3f} s"
    text = json.dumps({name: value for name, value in line.record.items() if name != "t"}, ensure_ascii=False)
    return f"{line.file} {when} {text if len(text) <= _WIDTH else text[: _WIDTH - 1] + '…'}"
