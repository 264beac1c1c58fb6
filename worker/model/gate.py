"""What a worker knows of a model that is away, so that its jobs do not all ask a server that does not answer."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import Final, NamedTuple

from readalong.core.errors import ModelError

#: Seconds to the first try after a failure, and the longest between two tries.
_FIRST: Final = 0.25
_LONGEST: Final = 4.0
#: Seconds after which the next call may try although the one before has no answer yet.
_UNANSWERED: Final = 5.0
#: Longest that a Retry-After may keep the jobs that did not get it themselves, in seconds.
_LONGEST_ASKED: Final = 60.0
#: Seconds for each waiting call, and the most of all, over which they are spread when the gate opens.
_APART: Final = 0.01
_SPREAD: Final = 1.0
#: Models whose gates are kept: clients may name any.
_MOST_MODELS: Final = 100


class Gate:
    """Open, or closed by an `error` that says that the model is away. Then one call at a time tries it, after a pause
    that doubles with each failure, and the others wait for what comes of it."""

    def __init__(self) -> None:
        self.error: ModelError | None = None
        #: When it was closed, and when the next call may try, by the loop's clock.
        self.since = 0.0
        self.due = 0.0
        #: A call that tries the model has no answer yet.
        self.trying = False
        #: Rises with each failure that counts. A call that began in an earlier turn says nothing new.
        self.turn = 0
        self._closed_in = 0
        self._pause = _FIRST
        self._waiters: deque[asyncio.Future[bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return len(self._waiters)

    async def enter(self) -> bool:
        """Waits until a call may go. Returns True if it is to try a model that is away, False if the gate is open."""
        loop = asyncio.get_running_loop()
        while self.error is not None:
            if not self._waiters and self.due <= loop.time():
                self._begin_try()
                return True
            waiter: asyncio.Future[bool] = loop.create_future()
            self._waiters.append(waiter)
            self._arm()
            try:
                if await waiter:
                    return True
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and waiter.result():
                    self._try_next()  # its turn would be lost
                raise
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return False

    def failed(self, error: ModelError, turn: int) -> None:
        """A call that began in this turn found the model away."""
        now = asyncio.get_running_loop().time()
        asked = min(error.retry_after or 0.0, _LONGEST_ASKED)
        if turn != self.turn:
            if self.error is not None and asked:
                self._put_off(now + asked)
            return
        self.turn += 1
        self.trying = False
        if self.error is None:
            self.since, self._closed_in, self._pause = now, self.turn, _FIRST
        else:
            self._pause = min(2 * self._pause, _LONGEST)
        self.error = error
        self.due = 0.0
        self._put_off(now + max(self._pause, asked))

    def answered(self, turn: int) -> None:
        """A call that began in this turn found the model there."""
        if self.error is None or turn < self._closed_in:
            return
        self.error = None
        self.trying = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        spread = min(_SPREAD, _APART * (len(self._waiters) - 1))
        for waiter in self._waiters:
            # All at once would be the load that a server which has just come back bears least.
            loop.call_later(random.uniform(0, spread) if spread > 0 else 0, _release, waiter)

    def _begin_try(self) -> None:
        self.trying = True
        self.due = asyncio.get_running_loop().time() + _UNANSWERED

    def _put_off(self, due: float) -> None:
        """The next try is not before `due`, and up to a quarter of the pause later: other workers wait too."""
        now = asyncio.get_running_loop().time()
        self.due = max(self.due, now + (due - now) * random.uniform(1.0, 1.25))
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiters:
            self._timer = asyncio.get_running_loop().call_at(self.due, self._try_next)

    def _try_next(self) -> None:
        """Lets the first that waits try."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(True)
                self._begin_try()
                break
        self._arm()


class Turns(NamedTuple):
    """The turns of a call at the server's gate and at its model's."""

    server: int = 0
    model: int = 0


class Gates:
    """One gate for the server, closed while it cannot be reached, and one for each model that it says is away."""

    def __init__(self) -> None:
        self.server = Gate()
        self._models: dict[str, Gate] = {}

    def closed(self, model: str) -> Gate | None:
        """The gate that a call of this model must wait at, if there is one."""
        for gate in (self.server, self._models.get(model)):
            if gate is not None and gate.error is not None:
                return gate
        return None

    def turns(self, model: str) -> Turns:
        """The turns of a call that goes now."""
        gate = self._models.get(model)
        return Turns(self.server.turn, 0 if gate is None else gate.turn)

    def answered(self, model: str, turns: Turns) -> None:
        """The model was found there, though it may have refused."""
        self.server.answered(turns.server)
        if (gate := self._models.get(model)) is not None:
            gate.answered(turns.model)

    def failed(self, model: str, error: ModelError, turns: Turns) -> None:
        """The server or the model was found away."""
        if not error.status:
            self.server.failed(error, turns.server)
            return
        self.server.answered(turns.server)
        if model not in self._models:
            if len(self._models) >= _MOST_MODELS:
                self._models = {name: gate for name, gate in self._models.items() if gate.waiting}
            self._models[model] = Gate()
        self._models[model].failed(error, turns.model)


def _release(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
