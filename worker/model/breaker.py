"""Decides how many jobs a worker may acquire while its model refuses it or is out of reach."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from readalong.core.errors import ModelError
from readalong.core.settings import Settings
from readalong.worker.model.gate import Gates

logger = logging.getLogger(__name__)

#: Seconds from a refusal to the first probe, and the longest between two probes; shorter with little patience.
_FIRST: Final = 1.0
_LONGEST: Final = 30.0
#: Jobs in one probe: the model may refuse the first for a reason of its own.
_PROBES: Final = 3
#: Seconds that a server may be out of reach before the breaker opens.
_GRACE: Final = 5.0
#: Refusals in a row that open the breaker of a worker that the model has accepted before: refusals of its key, and
#: refusals that may be one job's fault.
_KEY_REFUSALS: Final = 2
_REFUSALS: Final = 3
#: Models whose refusal is remembered: clients may name any model. Beyond that every model counts as refused.
_MAX_MODELS: Final = 100
#: Statuses that concern the key or its account, and never a request.
_KEY_STATUSES: Final = frozenset({401, 402, 429})


class RequeueJob(Exception):
    """The job goes back to the queue, for another worker: the model's `error` concerns this worker."""

    def __init__(self, error: ModelError) -> None:
        super().__init__(error.code)
        self.error = error


class CircuitBreaker:
    """Opens after refusals that concern the worker: its key, its address.

    While it is open, only a few jobs probe the model, after pauses that double. A server that is out of reach for
    longer than a moment opens it too; then the gate does the probing. Calls `on_change` when refusals open it, and when
    it closes again.
    """

    def __init__(self, settings: Settings, gates: Gates, on_change: Callable[[], None] = lambda: None) -> None:
        self.error: ModelError | None = None
        #: Whether another live worker reaches its model, or has not tried. The worker updates it from Redis.
        self.others_connected = False
        self.patience = settings.model_patience
        self.on_change = on_change
        self._gates = gates
        self._since = 0.0
        self._pause = 0.0
        self._probe_at = 0.0
        self._probes = 0
        self._away_since = 0.0
        self._outage_logged = False
        self._backed_off_at = 0.0
        #: Whether the model ever accepted a call, and the refusals since.
        self._accepted = False
        self._refusals = 0
        #: The models of the jobs that were refused since the breaker opened.
        self._models: set[str] = set()

    @property
    def code(self) -> str:
        """The error code while the breaker is open, for the worker's liveness record; else ""."""
        if self.error is not None:
            return self.error.code
        return self._gates.server.error.code if self._is_away and self._gates.server.error is not None else ""

    @property
    def is_open(self) -> bool:
        """Whether only probes may call the model."""
        return self.error is not None or self._is_away

    @property
    def is_exhausted(self) -> bool:
        """Whether no worker has reached its model for the patience: jobs that have waited as long fail."""
        if not self.is_open or self.others_connected:
            return False
        since = self._since if self.error is not None else self._gates.server.since
        return _now() - since >= self.patience

    def probes_left(self) -> int:
        """Returns how many jobs may probe the model now, while the breaker is open."""
        if self.error is None:
            return self._server_probes_left()
        return _PROBES - self._probes if _now() >= self._probe_at else 0

    def log_outage(self) -> None:
        """Logs once that the server is out of reach, and once that it is back. Call it at intervals."""
        server = self._gates.server
        if self._is_away and server.error is not None and not self._outage_logged:
            self._outage_logged = True
            message = "%s: %r; this worker acquires no jobs until the model can be reached"
            logger.error(message, server.error.code, server.error.message)
        elif server.error is None and self._outage_logged:
            self._outage_logged = False
            logger.warning("the model can be reached again")

    @property
    def next_check(self) -> float:
        """Seconds until the worker checks again whether it may acquire jobs, while the breaker is open."""
        soon = min(1.0, self.patience / 8)
        return min(max(self._probe_at - _now(), 0.01), soon) if self.error is not None else soon

    def allow(self, model: str) -> bool:
        """Returns whether a job may call its model: it is time for a probe, or this model has not refused yet.

        A refusal by one model, which a client may have chosen on purpose, holds up no job of another.
        """
        if model not in self._models and len(self._models) < _MAX_MODELS:
            return True
        if _now() < self._probe_at:
            return False
        self._probes += 1
        if self._probes >= _PROBES:
            self._probes, self._probe_at = 0, _now() + self._pause
        return True

    def record_success(self) -> None:
        """Records that the model has begun to answer a call. Closes the breaker."""
        self._accepted, self._refusals = True, 0
        if self.error is not None:
            logger.warning("the model lets this worker in again, after %.0f s", _now() - self._since)
            self.error = None
            self.on_change()

    def record_refusal(self, error: ModelError, model: str, called_at: float, waited: float, *, again: bool) -> bool:
        """Records a refusal that may be the worker's fault. Returns whether the job is re-queued; else it fails.

        `called_at`: when the call began. `waited`: seconds since the submit. `again`: the job was re-queued for the
        same refusal before.
        """
        if self.error is not None:
            self.error = error
            self._models.add(model)
            if called_at > self._backed_off_at:
                self._back_off(min(2 * self._pause, _LONGEST, self.patience / 2))
            return not (self.is_exhausted and waited >= self.patience)
        self._refusals += 1
        is_of_key = error.status in _KEY_STATUSES
        if self._accepted and self._refusals < (_KEY_REFUSALS if is_of_key else _REFUSALS):
            # Other calls succeed: most likely it is this job's model.
            return is_of_key and not again
        self.error = error
        self._models = {model}
        self._since = _now()
        logger.error(
            "the model refuses this worker (%s: %r); it acquires no jobs until the model accepts it again",
            error.code,
            error.message,
        )
        self._back_off(min(_FIRST, self.patience / 8))
        self.on_change()
        return True

    @property
    def _is_away(self) -> bool:
        server = self._gates.server
        return server.error is not None and _now() - server.since >= min(_GRACE, self.patience / 4)

    def _server_probes_left(self) -> int:
        server = self._gates.server
        if server.waiting:
            return 0
        if self.others_connected:
            # Another worker would do the job at once: probe as seldom as after a refusal.
            if self._away_since != server.since:
                self._away_since, self._pause = server.since, min(_FIRST, self.patience / 8)
                self._probe_at = _now() + self._pause
            if _now() < self._probe_at:
                return 0
            self._pause = min(2 * self._pause, _LONGEST)
            self._probe_at = _now() + self._pause
        return 1

    def _back_off(self, pause: float) -> None:
        self._pause, self._probes = pause, 0
        self._backed_off_at = _now()
        self._probe_at = self._backed_off_at + pause


def _now() -> float:
    return asyncio.get_running_loop().time()
