"""What happened in each of the last minutes, as scripts count it beside their work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from readalong.core.errors import StoreRefused
from readalong.core.settings import Settings
from readalong.core.states import ENDS
from readalong.redis.facade import RedisFacade
from readalong.store.findings import Growth

#: Minutes that can be asked for. Scripts keep each for two hours after its last count.
MOST_MINUTES: Final = 120
_MINUTE_MS: Final = 60_000
#: Times are counted by the power of this that they reach, in milliseconds: `parts/stats.lua` does.
_STEP: Final = 1.05


class Percentiles(NamedTuple):
    """Seconds, to a fortieth."""

    p50: float
    p95: float


class Minute(NamedTuple):
    """`at`: its beginning, in ms. `counts`: `submitted`, `tokens` and states. `first_token`, `queue`: how often each
    step of time was reached. Jobs count in the minute of their end."""

    at: int
    counts: Counter[str]
    first_token: Counter[int]
    queue: Counter[int]
    errors: Counter[str]


class StatsStore:
    """Reads what the scripts have counted."""

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        self._redis = redis
        self._keys = settings.keys

    async def minutes(self, count: int) -> list[Minute]:
        """Returns the last `count` minutes, oldest first, with the present one. Raises StoreUnavailable."""
        newest = await self._redis.now() // _MINUTE_MS
        numbers = range(newest - count + 1, newest + 1)
        # A key of another type, which a person has put there, is an empty minute.
        found = await self._redis.pipeline(
            [("HGETALL", self._keys.stats(number)) for number in numbers], keep_broken=True
        )
        return [_minute(number * _MINUTE_MS, fields) for number, fields in zip(numbers, found, strict=True)]

    async def growth(self, minutes: int) -> Growth:
        """Returns how many jobs came and ended in the last minutes. Raises StoreUnavailable."""
        whole = total(await self.minutes(minutes))
        ended = sum(whole.counts[state] for state in ENDS)
        return Growth(whole.counts["submitted"], ended, minutes)


def total(minutes: Iterable[Minute]) -> Minute:
    """Returns all of them as one."""
    whole = Minute(0, Counter(), Counter(), Counter(), Counter())
    for each in minutes:
        whole.counts.update(each.counts)
        whole.first_token.update(each.first_token)
        whole.queue.update(each.queue)
        whole.errors.update(each.errors)
    return whole


def percentiles(steps: Counter[int]) -> Percentiles | None:
    """Returns the middle and the 95th of a hundred, each as the middle of its step; None if there is nothing."""
    count = steps.total()
    return Percentiles(_rank(steps, count * 0.5), _rank(steps, count * 0.95)) if count else None


def _rank(steps: Counter[int], rank: float) -> float:
    reached = 0
    for step in sorted(steps):
        reached += steps[step]
        if reached >= rank:
            return float(_STEP ** (step + 0.5) / 1000)
    raise AssertionError("unreachable")


def _minute(at: int, fields: Mapping[Any, Any] | StoreRefused) -> Minute:
    minute = Minute(at, Counter(), Counter(), Counter(), Counter())
    if isinstance(fields, StoreRefused):
        return minute
    for name, value in _pairs(fields):
        kind, _, what = name.partition(":")
        if not what:
            minute.counts[kind] += value
        elif kind == "error":
            minute.errors[what] += value
        elif kind in ("first", "queue") and what.isascii() and what.isdigit() and len(what) < 4:
            (minute.first_token if kind == "first" else minute.queue)[int(what)] += value
    return minute


def _pairs(fields: Mapping[Any, Any] | list[Any]) -> Iterable[tuple[str, int]]:
    """Yields names and counts; what a person has put there is left out."""
    flat = fields.items() if isinstance(fields, Mapping) else zip(fields[::2], fields[1::2], strict=True)
    for name, value in flat:
        if value.isdigit() and len(value) < 16:
            yield name.decode(errors="replace"), int(value)
