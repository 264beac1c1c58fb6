"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a run. Everything is measured once a round, so that noise hits all contenders alike."""

    rounds: int
    #: Jobs a round, one at a time, for the latency of a start.
    stock_jobs: int
    jobs: int
    #: Streams at once for the delay of a token, tokens a second of each, seconds of a measurement.
    streams: tuple[int, ...]
    stream_rate: float
    stream_seconds: float
    #: The one job that many watch: watchers, events a second, seconds of a measurement.
    watchers: int
    watch_rate: float
    watch_seconds: float
    #: Seconds between the last stream's first token and the measurement.
    settle: float = 0.5
    #: Jobs before the first that counts.
    warm_up_jobs: int = 20


FULL: Final = Plan(
    rounds=3,
    stock_jobs=20,
    jobs=67,
    streams=(1, 20),
    stream_rate=50,
    stream_seconds=6,
    watchers=200,
    watch_rate=20,
    watch_seconds=6,
)
QUICK: Final = Plan(
    rounds=1,
    stock_jobs=8,
    jobs=30,
    streams=(1, 20),
    stream_rate=50,
    stream_seconds=3,
    watchers=200,
    watch_rate=20,
    watch_seconds=3,
)
