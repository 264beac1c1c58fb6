"""The sizes of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a run."""

    #: Rounds of the pipeline's measurements. They alternate with others', so that noise hits all alike.
    rounds: int

    #: Numbers of watchers of one job, the highest first; the table shows the first.
    watchers: tuple[int, ...]
    watch_rate: float
    #: Seconds of a measurement at the first number of watchers, and at each of the others.
    watch_seconds: float
    fewer_seconds: float
    #: Events at full speed: readalong's, nchan's, the others'. They differ so that each takes some seconds.
    flood: tuple[int, int, int]

    #: Turns of each wire format at the first number of watchers, and seconds of a turn.
    format_turns: int
    format_seconds: float

    #: Concurrent streams, the highest number first, and only that one in rounds after the first; tokens a second of
    #: each, seconds.
    streams: tuple[int, ...]
    stream_rate: float
    stream_seconds: float
    #: Concurrent streams of the openai package, through readalong and straight from the model.
    sdk_streams: int

    #: Jobs a round, one at a time: stock arq's, ours on an idle stack (and as many by each way that is compared with
    #: another), ours beside `streams[0]` streams.
    stock_jobs: int
    jobs: int
    loaded_jobs: int

    #: Tokens of the finished jobs that are joined late, and the number of such jobs.
    late_tokens: int
    late_jobs: int
    #: Watchers that reconnect at once, and events of their job.
    returning: int
    returning_events: int
    #: Tokens and pace of the job whose memory is measured.
    weighed_tokens: int
    weighed_rate: float

    #: For figures that must not grow: finished jobs in Redis, jobs running elsewhere.
    finished_jobs: int
    elsewhere_jobs: int
    #: Whether the figures without them are taken again just before, and not from the start of the run.
    flat_again: bool
    #: Pages of the list, of each kind, with few jobs and with `finished_jobs`.
    few_jobs: int
    pages: int

    #: Workers that are killed while they stream, one after the other.
    kills: int = 5
    #: Seconds between the last stream's first token and the measurement.
    settle: float = 0.5
    #: Jobs before the first that counts.
    warm_up_jobs: int = 20


FULL: Final = Plan(
    rounds=2,
    watchers=(1000, 300, 100),
    watch_rate=20,
    watch_seconds=6,
    fewer_seconds=2,
    flood=(10_000, 1_000, 100),
    format_turns=12,
    format_seconds=0.5,
    streams=(50, 20, 1),
    stream_rate=50,
    stream_seconds=5,
    sdk_streams=10,
    stock_jobs=12,
    jobs=100,
    loaded_jobs=60,
    late_tokens=4000,
    late_jobs=10,
    returning=1000,
    returning_events=4000,
    weighed_tokens=1000,
    weighed_rate=100,
    finished_jobs=100_000,
    elsewhere_jobs=1000,
    flat_again=True,
    few_jobs=100,
    pages=200,
)
QUICK: Final = Plan(
    rounds=1,
    watchers=(500,),
    watch_rate=20,
    watch_seconds=1,
    fewer_seconds=0,
    flood=(2_000, 200, 20),
    format_turns=3,
    format_seconds=0.25,
    streams=(50,),
    stream_rate=50,
    stream_seconds=1,
    sdk_streams=10,
    stock_jobs=4,
    jobs=24,
    loaded_jobs=12,
    late_tokens=4000,
    late_jobs=2,
    returning=300,
    returning_events=4000,
    weighed_tokens=1000,
    weighed_rate=500,
    finished_jobs=10_000,
    elsewhere_jobs=500,
    flat_again=False,
    few_jobs=100,
    pages=40,
    kills=2,
    settle=0.2,
    warm_up_jobs=10,
)
