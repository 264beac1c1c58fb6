"""Whether this worker gets through to its model, and what it may take from the queue while it does not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from readalong.core.errors import ModelError
from readalong.core.settings import Settings
from readalong.worker.model.gate import Gates

logger = logging.getLogger(__name__)

#: Seconds from a refusal to the first probe, and the longest between two; shorter with little patience.
_FIRST: Final = 1.0
_LONGEST: Final = 30.0
#: Jobs that one probe lets through: the model may have refused the first for a reason of its own.
_PROBES: Final = 3
#: Seconds that a server may be out of reach before the worker takes no more jobs.
_BLINK: Final = 5.0
#: Refusals in a row after which a worker that has been let in before counts as locked out: of its key, and of a kind
#: that may be one job's own fault.
_KEY_REFUSALS: Final = 2
_REFUSALS: Final = 3
#: Models that are known to be refused: clients may name any, and each further one is one of them.
_MOST_MODELS: Final = 100
#: Statuses that speak of the key or its account, and never of a request.
_OF_KEY: Final = frozenset({401, 402, 429})


class GivenBack(Exception):
    """The job goes back to the queue, for another worker: its model's `error` is this worker's own trouble."""

    def __init__(self, error: ModelError) -> None:
        super().__init__(error.code)
        self.error = error


class Breaker:
    """Open after refusals that are the worker's own (its key, its address): then only a few jobs, after pauses that
    double, try whether the model lets them in. `on_change` is called when it opens or closes.

    A server that is out of reach for longer than a moment has the same effect, but its gate does the trying.
    """

    def __init__(self, settings: Settings, gates: Gates, on_change: Callable[[], None] = lambda: None) -> None:
        self.error: ModelError | None = None
        #: Whether another live worker gets through, or has not tried; the worker asks Redis now and then.
        self.others = False
        self.patience = settings.model_patience
        self.on_change = on_change
        self._gates = gates
        self._since = 0.0
        self._pause = 0.0
        self._probe_at = 0.0
        self._probes = 0
        self._away_since = 0.0
        self._told_away = False
        self._stepped_at = 0.0
        #: Whether a call was ever answered, and the refusals since the last such one.
        self._let_in = False
        self._in_row = 0
        #: The models of the jobs that were refused since it opened.
        self._models: set[str] = set()

    @property
    def code(self) -> str:
        """Why the worker takes nothing, for its sign of life; "" while it does."""
        if self.error is not None:
            return self.error.code
        return self._gates.server.error.code if self._is_away and self._gates.server.error is not None else ""

    @property
    def shut(self) -> bool:
        return self.error is not None or self._is_away

    @property
    def hopeless(self) -> bool:
        """Whether no worker has got through for the model's patience: jobs that have waited for so long fail."""
        if not self.shut or self.others:
            return False
        since = self._since if self.error is not None else self._gates.server.since
        return _now() - since >= self.patience

    def probes(self) -> int:
        """How many jobs may try the model now, while it is `shut`."""
        if self.error is None:
            return self._probes_of_the_server()
        return _PROBES - self._probes if _now() >= self._probe_at else 0

    def tell(self) -> None:
        """Logs that the server is out of reach, and that it is there again; called now and then."""
        server = self._gates.server
        if self._is_away and server.error is not None and not self._told_away:
            self._told_away = True
            message = "%s: %r; this worker takes no more jobs until it is reached again"
            logger.error(message, server.error.code, server.error.message)
        elif server.error is None and self._told_away:
            self._told_away = False
            logger.warning("the model is reached again")

    @property
    def look_again(self) -> float:
        """Seconds until the worker looks again whether it may take jobs, while it is `shut`."""
        soon = min(1.0, self.patience / 8)
        return min(max(self._probe_at - _now(), 0.01), soon) if self.error is not None else soon

    def lend(self, model: str) -> bool:
        """Lets one job try its model, and returns True, if it is time for that, or if nothing is known of this model:
        what another one says, which a client may have chosen for that, ends no job and sends none away."""
        if model not in self._models and len(self._models) < _MOST_MODELS:
            return True
        if _now() < self._probe_at:
            return False
        self._probes += 1
        if self._probes >= _PROBES:
            self._probes, self._probe_at = 0, _now() + self._pause
        return True

    def let_in(self) -> None:
        """The model has begun to answer a call."""
        self._let_in, self._in_row = True, 0
        if self.error is not None:
            logger.warning("the model lets this worker in again, after %.0f s", _now() - self._since)
            self.error = None
            self.on_change()

    def refused(self, error: ModelError, model: str, called_at: float, waited: float, *, again: bool) -> bool:
        """The model refused a call of `called_at` in a way that may be the worker's fault. Returns whether the job goes
        back to the queue; else it fails. `waited`: seconds since its submit; `again`: it was given back for that."""
        if self.error is not None:
            self.error = error
            self._models.add(model)
            if called_at > self._stepped_at:
                self._step(min(2 * self._pause, _LONGEST, self.patience / 2))
            return not (self.hopeless and waited >= self.patience)
        self._in_row += 1
        of_key = error.status in _OF_KEY
        if self._let_in and self._in_row < (_KEY_REFUSALS if of_key else _REFUSALS):
            # Others get through: it is this job's model, most likely.
            return of_key and not again
        self.error = error
        self._models = {model}
        self._since = _now()
        logger.error(
            "the model refuses this worker (%s: %r); it takes no more jobs until it is let in again",
            error.code,
            error.message,
        )
        self._step(min(_FIRST, self.patience / 8))
        self.on_change()
        return True

    @property
    def _is_away(self) -> bool:
        server = self._gates.server
        return server.error is not None and _now() - server.since >= min(_BLINK, self.patience / 4)

    def _probes_of_the_server(self) -> int:
        server = self._gates.server
        if server.waiting:
            return 0
        if self.others:
            # It would be taken from the others, and handed over again: as seldom as after a refusal.
            if self._away_since != server.since:
                self._away_since, self._pause = server.since, min(_FIRST, self.patience / 8)
                self._probe_at = _now() + self._pause
            if _now() < self._probe_at:
                return 0
            self._pause = min(2 * self._pause, _LONGEST)
            self._probe_at = _now() + self._pause
        return 1

    def _step(self, pause: float) -> None:
        self._pause, self._probes = pause, 0
        self._stepped_at = _now()
        self._probe_at = self._stepped_at + pause


def _now() -> float:
    return asyncio.get_running_loop().time()
