"""An attempt's times and rates, from readings of a monotonic clock."""

from __future__ import annotations

from typing import Any


class AttemptTimings:
    """Collects an attempt's times. All but those of the constructor are of one monotonic clock."""

    def __init__(self, waited: float, now: float, *, queued: float | None = None, first: float | None = None) -> None:
        """`waited`: seconds from submit to this attempt's claim, by Redis' clock. `queued`: seconds from submit to the
        job's first claim, if that was another. `first`: seconds from submit to the first token of the attempt before,
        if this attempt ends the job for it."""
        self._waited = waited
        self._queued = waited if queued is None else queued
        self._first_before = first
        #: When the attempt was claimed.
        self.claimed = now
        self._called: float | None = None
        self._first: float | None = None
        self._last: float | None = None

    @property
    def begun(self) -> bool:
        """Whether the first token has come."""
        return self._first is not None

    def called(self, now: float) -> None:
        """Notes a call of the model."""
        self._called = now

    def token(self, now: float) -> None:
        """Notes a token."""
        if self._first is None:
            self._first = now
        self._last = now

    def metrics(self, now: float, chunk_count: int, usage: dict[str, Any] | None, hidden: int = 0) -> dict[str, Any]:
        """Returns the metrics of the terminal event: seconds, and tokens a second from the first token to the last.

        `hidden`: tokens of `usage` that were not streamed. They do not count in the rate.
        """
        first = self._first
        to_first = self._first_before if first is None else self._waited + first - self.claimed
        counts = usage or {}
        metrics: dict[str, Any] = {
            "queue_seconds": round(self._queued, 4),
            "time_to_first_token": None if to_first is None else round(to_first, 4),
            "time_to_first_token_from_call": None
            if first is None or self._called is None
            else round(first - self._called, 4),
            "total_seconds": round(self._waited + now - self.claimed, 4),
            "chunk_count": chunk_count,
            "tokens_per_second": self._rate(chunk_count, counts, hidden),
        }
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            if isinstance(counts.get(name), int):
                metrics[name] = counts[name]
        return metrics

    def _rate(self, chunk_count: int, counts: dict[str, Any], hidden: int) -> float | None:
        counted = counts.get("completion_tokens")
        tokens = counted - hidden if isinstance(counted, int) else 0
        if tokens <= 0:
            tokens = chunk_count
        if self._first is None or self._last is None or self._last <= self._first:
            return None
        return round((tokens - 1) / (self._last - self._first), 2)
