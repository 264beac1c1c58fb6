"""Rule 7: when all is quiet again, nothing is left and everything is about what it was."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.chaos.checker.history import History
from tests.chaos.checker.report import Line, Rule, Violation

#: More than so many above the count at the start are a leak; pools and caches that grew once are fewer.
_SPARE: Final[Mapping[str, int]] = {"redis": 24, "model": 0, "fds": 24, "threads": 8}
_LIVE: Final = re.compile(r":job:\{(.*)\}:live$")
_IDLE: Final = re.compile(r"\bfeeds=0 watchers=0\b")


def check_leaks(history: History) -> Iterator[Violation]:
    after = history.after
    for name, what in (("queue", "the queue"), ("in_progress", "the leases"), ("open", "the index of open jobs")):
        if after[name]:
            yield _leak(f"{len(after[name])} left in {what}", {name: after[name]})
    for channel in after["channels"]:
        if (live := _LIVE.search(channel)) is not None:
            yield _leak("a live channel still has a subscriber", {"channels": [channel]}, live.group(1))
    for hub in after["hubs"]:
        if not _IDLE.search(hub):
            yield _leak("a hub does not say that it has no feeds and no watchers", {"hubs": [hub]})
    before = after["before"]
    for kind, count in after["connections"].items():
        if count > before["connections"].get(kind, 0) + _SPARE[kind]:
            told = {"before": before["connections"], "connections": after["connections"]}
            yield _leak(f"{count} connections to {kind}", told)
    for name, numbers in after["processes"].items():
        # A process that the run started later is held against the largest of its kind at the start.
        kind = name.partition("-")[0]
        alike = [found for other, found in before["processes"].items() if other.partition("-")[0] == kind]
        # Where the system tells no numbers there are none.
        for what in {"fds", "threads"} & numbers.keys():
            most = max((found[what] for found in alike if what in found), default=0)
            if numbers[what] > most + _SPARE[what]:
                yield _leak(f"{name} has {numbers[what]} {what}", {"before": most, name: numbers})


def _leak(says: str, shown: Mapping[str, Any], job: str | None = None) -> Violation:
    return Violation(Rule.LEAK, job, says, (Line("after.json", None, shown),))
