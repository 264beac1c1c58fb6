"""Rule 7: after the run nothing is left, and all numbers are close to those at the start."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tests.chaos.checker.history import History
from tests.chaos.checker.report import Line, Rule, Violation

#: A higher count above the start, beyond the pools' limits, is a leak.
_SPARE: Final[Mapping[str, int]] = {"redis": 24, "model": 0, "fds": 24, "threads": 12}
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
            yield _leak("a hub does not report zero feeds and watchers", {"hubs": [hub]})
    before = after["before"]
    #: Connections to Redis that a process may keep, by its kind.
    pools: Mapping[str, int] = history.run.get("pools", {})
    kept = sum(pools.get(_kind(name), 0) for name in after["processes"])
    for kind, count in after["connections"].items():
        spare = _SPARE[kind] + (kept if kind == "redis" else 0)
        if count > before["connections"].get(kind, 0) + spare:
            told = {"before": before["connections"], "connections": after["connections"]}
            yield _leak(f"{count} connections to {kind}", told)
    for name, numbers in after["processes"].items():
        # A process that the run started later is compared with the largest of its kind at the start.
        alike = [found for other, found in before["processes"].items() if _kind(other) == _kind(name)]
        # Some systems give no numbers.
        for what in {"fds", "threads"} & numbers.keys():
            most = max((found[what] for found in alike if what in found), default=0)
            spare = _SPARE[what] + (pools.get(_kind(name), 0) if what == "fds" else 0)
            if numbers[what] > most + spare:
                yield _leak(f"{name} has {numbers[what]} {what}", {"before": most, name: numbers})


def _kind(process: str) -> str:
    return process.partition("-")[0]


def _leak(says: str, shown: Mapping[str, Any], job: str | None = None) -> Violation:
    return Violation(Rule.LEAK, job, says, (Line("after.json", None, shown),))
