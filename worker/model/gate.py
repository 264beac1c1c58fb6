"""Holds back the calls to a model that is away, and lets one at a time probe it."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import Final, NamedTuple

from readalong.core.errors import ModelError

#: Seconds to the first probe after a failure, and the longest between two probes.
_FIRST: Final = 0.25
_LONGEST: Final = 4.0
#: Seconds after which the next call may probe although the last one has no answer yet.
_PROBE_TIMEOUT: Final = 5.0
#: Longest Retry-After, in seconds, for jobs that did not get it themselves.
_MAX_RETRY_AFTER: Final = 60.0
#: When the gate opens, the waiting calls are spread over this many seconds a call, and in all.
_SPREAD_PER_CALL: Final = 0.01
_MAX_SPREAD: Final = 1.0
#: Models whose gates are kept: clients may name any model.
_MAX_MODELS: Final = 100


class Gate:
    """Closed while `error` says that the model is away.

    Then one call at a time probes the model, after a pause that doubles with each failure. The others wait.
    """

    def __init__(self) -> None:
        self.error: ModelError | None = None
        #: When the gate closed, and when the next call may probe, by the loop's clock.
        self.since = 0.0
        self.next_probe = 0.0
        #: A probe has no answer yet.
        self.probing = False
        #: Rises with each failure that counts. The result of a call from an earlier epoch is stale.
        self.epoch = 0
        self._closed_epoch = 0
        self._pause = _FIRST
        self._waiters: deque[asyncio.Future[bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """The number of calls that wait."""
        return len(self._waiters)

    async def enter(self) -> bool:
        """Waits until a call may go. Returns True if the call is the probe, False if the gate is open."""
        loop = asyncio.get_running_loop()
        while self.error is not None:
            if not self._waiters and self.next_probe <= loop.time():
                self._start_probe()
                return True
            waiter: asyncio.Future[bool] = loop.create_future()
            self._waiters.append(waiter)
            self._schedule()
            try:
                if await waiter:
                    return True
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and waiter.result():
                    self.abandoned(self.epoch)  # otherwise the probe would be lost
                raise
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return False

    def failed(self, error: ModelError, epoch: int) -> None:
        """Records that a call of this epoch found the model away."""
        now = asyncio.get_running_loop().time()
        asked = min(error.retry_after or 0.0, _MAX_RETRY_AFTER)
        if epoch != self.epoch:
            if self.error is not None and asked:
                self._postpone(now + asked)
            return
        self.epoch += 1
        self.probing = False
        if self.error is None:
            self.since, self._closed_epoch, self._pause = now, self.epoch, _FIRST
        else:
            self._pause = min(2 * self._pause, _LONGEST)
        self.error = error
        self.next_probe = 0.0
        self._postpone(now + max(self._pause, asked))

    def answered(self, epoch: int) -> None:
        """Records that a call of this epoch reached the model. Opens the gate."""
        if self.error is None or epoch < self._closed_epoch:
            return
        self.error = None
        self.probing = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        spread = min(_MAX_SPREAD, _SPREAD_PER_CALL * (len(self._waiters) - 1))
        for waiter in self._waiters:
            # A server that has just come back could not bear all calls at once.
            loop.call_later(random.uniform(0, spread) if spread > 0 else 0, _release, waiter)

    def abandoned(self, epoch: int) -> None:
        """Records that a call of this epoch ended without a result, as by a cancel. Lets the next call probe."""
        if self.error is not None and self.probing and epoch == self.epoch:
            self.probing = False
            self.next_probe = asyncio.get_running_loop().time()
            self._schedule()

    def _start_probe(self) -> None:
        self.probing = True
        self.next_probe = asyncio.get_running_loop().time() + _PROBE_TIMEOUT

    def _postpone(self, time: float) -> None:
        """Delays the next probe until `time`, and up to a quarter of the pause longer: other workers wait too."""
        now = asyncio.get_running_loop().time()
        self.next_probe = max(self.next_probe, now + (time - now) * random.uniform(1.0, 1.25))
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiters:
            self._timer = asyncio.get_running_loop().call_at(self.next_probe, self._probe_next)

    def _probe_next(self) -> None:
        """Makes the first waiting call the probe."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(True)
                self._start_probe()
                break
        self._schedule()


class GateEpochs(NamedTuple):
    """The epochs of a call at the server's gate and at the model's gate."""

    server: int = 0
    model: int = 0


class Gates:
    """One gate for the server, closed while it cannot be reached, and one for each model that the server calls away."""

    def __init__(self) -> None:
        self.server = Gate()
        self._models: dict[str, Gate] = {}

    def closed(self, model: str) -> Gate | None:
        """Returns the gate at which a call of this model must wait; None if all are open."""
        for gate in (self.server, self._models.get(model)):
            if gate is not None and gate.error is not None:
                return gate
        return None

    def epochs(self, model: str) -> GateEpochs:
        """Returns the epochs of a call that begins now."""
        gate = self._models.get(model)
        return GateEpochs(self.server.epoch, 0 if gate is None else gate.epoch)

    def answered(self, model: str, epochs: GateEpochs) -> None:
        """Records that a call reached the model, which may have refused it."""
        self.server.answered(epochs.server)
        if (gate := self._models.get(model)) is not None:
            gate.answered(epochs.model)

    def abandoned(self, model: str, epochs: GateEpochs) -> None:
        """Records that a call ended without a result."""
        self.server.abandoned(epochs.server)
        if (gate := self._models.get(model)) is not None:
            gate.abandoned(epochs.model)

    def failed(self, model: str, error: ModelError, epochs: GateEpochs) -> None:
        """Records that a call found the server or the model away."""
        # One model's server may cut the connections behind a gateway: that says nothing about the other models, unless
        # the server could not be reached before.
        if not error.connected or (not error.status and self.server.error is not None):
            self.server.failed(error, epochs.server)
            return
        if error.status:
            self.server.answered(epochs.server)
        if model not in self._models:
            if len(self._models) >= _MAX_MODELS:
                self._models = {name: gate for name, gate in self._models.items() if gate.waiting}
            self._models[model] = Gate()
        self._models[model].failed(error, epochs.model)


def _release(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
