"""Trouble that lasts is told once, and its end too."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Timer
from time import monotonic
from typing import Final

#: Seconds of trouble after which it is told.
QUIET_SECONDS: Final = 2.0


class Trouble:
    """The trouble of one reader that reconnects. Any thread may call it.

    `notify` gets one line when the trouble has lasted QUIET_SECONDS, and one when it is over. A timer tells it: at that
    moment the reader waits for its next try, or for a server that does not answer. `give_up` is named in the line.
    """

    def __init__(self, give_up: float, notify: Callable[[str], None]) -> None:
        self._give_up = give_up
        self._notify = notify
        #: It is held while a line is given, so that the two lines keep their order.
        self._lock = Lock()
        self._since: float | None = None
        self._reason = ""
        self._told = False
        self._timer: Timer | None = None

    @property
    def lasts(self) -> bool:
        """Whether a try has failed and the trouble is not over."""
        return self._since is not None

    def failed(self, reason: str) -> float:
        """Notes that a try has failed. Returns the seconds since the first one that did."""
        with self._lock:
            now = monotonic()
            self._since = now if self._since is None else self._since
            self._reason = reason
            if not self._told and self._timer is None:
                timer = Timer(max(0.0, QUIET_SECONDS - (now - self._since)), lambda: self._tell(timer))
                timer.daemon = True
                self._timer = timer
                timer.start()
            return now - self._since

    def pause(self) -> None:
        """Tells nothing until the next try fails: a connection is open and may be quiet, or the reader has ended."""
        with self._lock:
            self._stop()

    def over(self) -> None:
        """Ends the trouble, if there was any."""
        with self._lock:
            self._stop()
            if self._told:
                self._notify("connected again")
            self._since, self._told = None, False

    def _tell(self, timer: Timer) -> None:
        with self._lock:
            if self._timer is timer:
                self._timer, self._told = None, True
                self._notify(f"{self._reason}; trying again for {self._give_up:g} s")

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
