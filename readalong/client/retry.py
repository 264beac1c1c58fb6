"""When and where a failed call is tried again."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from readalong.client.errors import ApiConnectionError, ClientError

#: Seconds before the second try at a replica; each further wait is twice as long, up to `longest_wait`.
FIRST_WAIT: Final = 0.1


@dataclass
class Replicas:
    """The base URLs of one API, of which all calls of a client use one until it fails."""

    urls: Sequence[str]
    #: Seconds of unbroken trouble after which a call raises.
    give_up: float = 60.0
    longest_wait: float = 3.0
    clock: Callable[[], float] = field(default=monotonic, repr=False)
    #: The index of the one to use.
    current: int = 0
    #: Whether any of them has ever responded.
    reached: bool = False


class Retry:
    """The tries of one call, or of one watch, whose trouble ends with each event."""

    def __init__(self, replicas: Replicas, give_up: float | None = None) -> None:
        self._replicas = replicas
        self._give_up = replicas.give_up if give_up is None else give_up
        self._index = replicas.current
        self._since: float | None = None
        self._failures = 0
        #: Seconds that a stream has asked its readers to wait before they come back.
        self.stream_wait = 0.0

    @property
    def url(self) -> str:
        """The base URL for the next try."""
        return self._replicas.urls[self._index]

    @property
    def tries(self) -> int:
        """How often the call was tried, since the last success."""
        return self._failures + 1

    def reached(self) -> None:
        """Notes a response of any kind."""
        self._replicas.reached = True

    def succeeded(self) -> None:
        """Ends the trouble."""
        self._since, self._failures = None, 0
        self._replicas.current = self._index

    def failed(self, error: ClientError) -> float:
        """Turns to the next replica. Returns the seconds to wait before the next try.

        Raises the error if no other try may help, or the limit is reached.
        """
        if not error.retryable:
            raise error
        now = self._replicas.clock()
        if self._since is None:
            self._since = now
        self._failures += 1
        count = len(self._replicas.urls)
        untried = self._failures < count
        refused = isinstance(error, ApiConnectionError) and error.refused
        if refused and not self._replicas.reached and not untried:
            raise error  # most likely a wrong URL: fail at once
        elapsed = now - self._since
        if elapsed >= self._give_up:
            error.add_note(f"Gave up after {self._give_up:g} s.")
            raise error
        self._index = (self._index + 1) % count
        if untried:
            return 0.0
        # Jitter: a thousand watchers of a restarted API must not reconnect at the same moment.
        rounds = min(self._failures // count - 1, 16)
        wait = min(self._replicas.longest_wait, math.ldexp(FIRST_WAIT, rounds)) * random.uniform(0.5, 1)
        return min(max(wait, error.retry_after or 0.0, self.stream_wait), self._give_up - elapsed)
