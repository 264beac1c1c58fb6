"""How an outage of Redis is logged: its beginning, that it lasts, its end.

Every loop of a worker and every request to an API meets it, and a line each time would bury everything else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

logger = logging.getLogger(__name__)

#: Seconds between two lines of an outage that lasts.
_EVERY: Final = 10.0
#: Seconds without a failure after which it is over: a Redis that refuses writes answers some loops and not others.
_QUIET: Final = 1.0


class OutageLogger:
    """One outage after the other. `clock`: seconds, from any beginning."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._said_at = 0.0
        self._seen_at = 0.0

    @property
    def lasts(self) -> bool:
        """Whether one has begun and is not over."""
        return self._since is not None

    def seen(self, error: Exception) -> None:
        """Notes that Redis did not answer, or refused."""
        now = self._seen_at = self._clock()
        if self._since is None:
            self._since = self._said_at = now
            logger.warning("%s; trying again", error)
        elif now - self._said_at >= _EVERY:
            self._said_at = now
            logger.warning("%s, for %.0f s now", error, now - self._since)

    def over(self) -> None:
        """Notes that Redis did what it was asked."""
        now = self._clock()
        if self._since is not None and now - self._seen_at > _QUIET:
            logger.warning("Redis answers again, after %.1f s", now - self._since)
            self._since = None
