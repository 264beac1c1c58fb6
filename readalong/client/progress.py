"""How far a generation is, and how fast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from readalong.client.events import Content, Event, Reasoning, Refusal, Restarted, TerminalEvent, ToolCallDelta

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """While the generation runs, by the client's clock, from the call on; from its end on, as the server measured it.

    `count` is that of the model's pieces. None: not known yet.
    """

    total_seconds: float
    count: int = 0
    time_to_first_token: float | None = None
    tokens_per_second: float | None = None
    #: Tokens of the answer as the model counts them, which it tells at the end, if at all.
    completion_tokens: int | None = None
    ended: bool = False


class ProgressMeter:
    """Measures a stream of events."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._first: float | None = None
        self._last = 0.0
        self._count = 0
        self._seq = 0
        self._end: Progress | None = None

    def start(self) -> None:
        """Measures from now on."""
        self._begun = self._clock()

    def add(self, event: Event) -> None:
        """Takes in the next event, at its arrival."""
        if isinstance(event, Content | Reasoning | Refusal | ToolCallDelta):
            self._last = self._clock()
            if self._first is None:
                self._first = self._last
            # A merged event has the number of the last piece that it covers.
            self._count += max(event.seq - self._seq, 1) if self._seq else 1
        elif isinstance(event, Restarted):
            self._first, self._count = None, 0
        elif isinstance(event, TerminalEvent):
            self._end = self._measured(event)
        self._seq = event.seq or self._seq

    @property
    def progress(self) -> Progress:
        return self._end if self._end is not None else self._now()

    def _now(self) -> Progress:
        first = None if self._first is None else self._first - self._begun
        span = 0.0 if self._first is None else self._last - self._first
        rate = (self._count - 1) / span if span > 0 else None
        return Progress(self._clock() - self._begun, self._count, first, rate)

    def _measured(self, end: TerminalEvent) -> Progress:
        own = self._now()
        seconds, rate = end.metrics.get("total_seconds"), end.metrics.get("tokens_per_second")
        first, count = end.metrics.get("time_to_first_token"), end.metrics.get("chunk_count")
        tokens = end.metrics.get("completion_tokens", (end.usage or {}).get("completion_tokens"))
        return Progress(
            _number(seconds, own.total_seconds),
            count if isinstance(count, int) else own.count,
            _number(first, own.time_to_first_token),
            _number(rate, own.tokens_per_second),
            tokens if isinstance(tokens, int) else None,
            ended=True,
        )


def _number(value: Any, otherwise: T) -> float | T:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else otherwise
