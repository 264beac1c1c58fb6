"""An attempt's time limits: the job's, its deadline, the first token's and the stall's, on one timer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from readalong.core.errors import ModelError
from readalong.core.settings import Settings
from readalong.store.log import Claim
from readalong.worker.attempt_end import LOST
from readalong.worker.model.call import ModelCall
from readalong.worker.timings import AttemptTimings

#: Seconds after which a silence is looked at once more before it counts.
_SECOND_LOOK: Final = 0.1


class _Limit(NamedTuple):
    at: float
    error: ModelError
    of_silence: bool = False


class AttemptTimer:
    """Calls `expire` with the error of the first limit that passes. All times are of the loop's clock.

    A token moves the stall's limit, so the timer is set again only when it fires, not at each token.
    """

    def __init__(
        self, settings: Settings, claim: Claim, timings: AttemptTimings, *, expire: Callable[[ModelError], None]
    ) -> None:
        #: The model's last sign of life; infinite while the model is not read.
        self.heard_at = 0.0
        self._settings = settings
        self._left = claim.times.left
        self._timings = timings
        self._expire = expire
        self._call: ModelCall
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._looked_again = False

    def start(self, call: ModelCall) -> None:
        """Starts the timer for the calls of `call`."""
        self._call = call
        self._check()

    def cancel(self) -> None:
        """Stops the timer."""
        if self._handle is not None:
            self._handle.cancel()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The model is not read: its silence does not count."""
        self.heard_at = math.inf
        yield
        self.heard_at = self._loop.time()

    def end(self, with_first_token: bool) -> float:
        """Returns when the attempt's time is over. `with_first_token` includes the limit of the first token, which is
        extended by the time that the attempt has waited for a model that is away."""
        settings = self._settings
        limits = [settings.job_timeout] if settings.job_timeout else []
        if with_first_token and settings.first_token_timeout:
            limits.append(settings.first_token_timeout + self._call.waited)
        if self._left is not None:
            limits.append(self._left)
        return self._timings.claimed + min(limits, default=math.inf)

    def _check(self) -> None:
        stall = self._settings.stall_timeout
        now = self._loop.time()
        limits = self._limits(now)
        if not limits:
            if stall:
                self._handle = self._loop.call_later(stall, self._check)
            return
        limit = min(limits, key=lambda one: one.at)
        if limit.at > now:
            self._looked_again = False
            # A stall may begin before the limit that is nearest now.
            self._handle = self._loop.call_at(min(limit.at, now + stall) if stall else limit.at, self._check)
        elif limit.of_silence and not self._looked_again:
            # This process may have stood still: bytes of the model may wait in its socket.
            self._looked_again = True
            self._handle = self._loop.call_later(_SECOND_LOOK, self._check)
        else:
            # A job that waits for its model fails with the model's own error, which tells more than a time limit.
            self._expire(self._call.waits_for or limit.error)

    def _limits(self, now: float) -> list[_Limit]:
        settings, claimed = self._settings, self._timings.claimed
        limits = []
        if settings.job_timeout:
            error = ModelError("job_timeout", "The job took too long.", retryable=True)
            limits.append(_Limit(claimed + settings.job_timeout, error))
        if self._left is not None:
            error = ModelError("deadline_exceeded", LOST["deadline_exceeded"], retryable=True)
            limits.append(_Limit(claimed + self._left, error))
        if self._timings.begun:
            if settings.stall_timeout:
                error = ModelError("model_stalled", "The model fell silent.", retryable=True)
                limits.append(_Limit(self.heard_at + settings.stall_timeout, error, of_silence=True))
        elif settings.first_token_timeout:
            # The wait for a model that is away does not count.
            since = now if self._call.waits_for else claimed + self._call.waited
            since = max(since, min(self.heard_at, now))
            error = ModelError("model_timeout", "The model did not begin in time.", retryable=True)
            limits.append(_Limit(since + settings.first_token_timeout, error, of_silence=True))
        return limits
