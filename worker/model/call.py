"""Times the calls of one attempt to its model, and handles a call that fails before the first token."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

import orjson

from readalong.core.errors import ModelError
from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.store.log import Claim
from readalong.worker.model.breaker import CircuitBreaker, RequeueJob
from readalong.worker.model.gate import Gate, GateEpochs, Gates

logger = logging.getLogger(__name__)

#: Longest Retry-After of a plain retry, in seconds. Beyond it the job fails.
_MAX_RETRY_AFTER: Final = 60.0


class Access:
    """What all attempts of a worker share about one provider."""

    def __init__(self, settings: Settings) -> None:
        self.gates = Gates()
        self.breaker = CircuitBreaker(settings, self.gates)
        #: The worker stops: no attempt waits for a model any more.
        self.stopping = False


class ModelCall:
    """The calls of one attempt.

    `tell` appends an event. `ends` returns when the attempt's time is over, by the loop's clock; with True the time for
    the first token counts too.
    """

    def __init__(
        self,
        settings: Settings,
        access: Access,
        job_id: str,
        claim: Claim,
        *,
        tell: Callable[[NewEvent], None],
        ends: Callable[[bool], float],
    ) -> None:
        self._gates = access.gates
        self._breaker = access.breaker
        self._access = access
        self._patience = settings.model_patience
        self._most_retries = settings.model_retries
        self._job_id = job_id
        self._model = claim.model
        self._submitted = asyncio.get_running_loop().time() - claim.times.waited
        #: Why the job was re-queued before; "" if it was not.
        self._reason = restart_reason(claim)
        self._tell = tell
        self._ends = ends
        self._retries = 0
        self._epochs = GateEpochs()
        self._called_at = 0.0
        #: A call has begun, and the gates do not know its result.
        self._pending = False
        #: When the model was first found away, and the reason of the last `waiting` event.
        self._away_since: float | None = None
        self._announced = ""
        #: The model's last error while the attempt waits to call it again; else None.
        self.waits_for: ModelError | None = None
        #: Seconds that the attempt has waited for a model that is away.
        self.waited = 0.0

    async def begin(self) -> None:
        """Waits until the model may be called.

        Raises ModelError if the job can wait no longer, RequeueJob if another worker may reach the model.
        """
        breaker = self._breaker
        allowed = False
        while self._patience:
            if breaker.error is not None and not allowed:
                if not breaker.allow(self._model):
                    raise self._give_up_error(breaker.error)
                allowed = True
            gate = self._gates.closed(self._model)
            if gate is None or await self._wait(gate):
                break
        self._epochs = self._gates.epochs(self._model)
        self._called_at = asyncio.get_running_loop().time()
        self._pending = True

    def answered(self) -> None:
        """Records that the response begins."""
        self._pending = False
        self._gates.answered(self._model, self._epochs)

    def close(self) -> None:
        """Records that no call follows. The jobs that wait for the result of a cancelled probe would wait in vain."""
        if self._pending:
            self._pending = False
            self._gates.abandoned(self._model, self._epochs)

    def begun(self) -> None:
        """Records the first event of the answer."""
        self._breaker.record_success()

    async def failed(self, error: ModelError) -> None:
        """Handles a call that failed before the first token. Returns when another call may begin; else raises."""
        if not self._patience:
            return await self._retry(error)
        if error.away:
            self._pending = False
            self._gates.failed(self._model, error, self._epochs)
            asked = asyncio.get_running_loop().time() + (error.retry_after or 0.0)
            if asked >= self._give_up():
                raise self._give_up_error(error)  # waiting would not help
            return None
        if error.status:
            self.answered()
        self.close()
        if error.refuses:
            waited = asyncio.get_running_loop().time() - self._submitted
            again = self._reason == error.code
            if self._breaker.record_refusal(error, self._model, self._called_at, waited, again=again):
                raise RequeueJob(error)
            raise error
        return await self._retry(error)

    async def _wait(self, gate: Gate) -> bool:
        """Waits at a closed gate. Returns whether this attempt is the probe."""
        assert gate.error is not None
        loop = asyncio.get_running_loop()
        began = loop.time()
        give_up = self._give_up()
        if self._access.stopping:
            raise RequeueJob(ModelError("worker_stopped", "The worker stops.", retryable=True))
        # A worker that was paused probes before it gives up its jobs.
        due = gate.next_probe > began and not gate.probing
        if self._breaker.is_exhausted and began - self._submitted >= self._patience and due:
            raise self._give_up_error(gate.error)
        error = self.waits_for = gate.error
        # Else this call is the probe, and what is known of the model is old.
        if gate.waiting or gate.next_probe > began:
            self._announce(gate)
        try:
            async with asyncio.timeout_at(give_up):
                return await gate.enter()
        except TimeoutError:
            raise self._give_up_error(error) from None
        finally:
            self.waits_for = None
            self.waited += loop.time() - began

    def _give_up(self) -> float:
        """Returns until when the attempt waits for a model that is away."""
        if self._away_since is None:
            self._away_since = asyncio.get_running_loop().time()
        return min(self._away_since + self._patience, self._ends(False))

    def _announce(self, gate: Gate) -> None:
        """Appends a `waiting` event: once for each reason, not for each probe."""
        if gate.error is None or gate.error.code == self._announced:
            return
        self._announced = gate.error.code
        seconds = max(0.0, gate.next_probe - asyncio.get_running_loop().time())
        logger.info("job %s waits for its model: %s", self._job_id, gate.error.message)
        self._tell(NewEvent("waiting", {"for": "model", "reason": self._announced, "seconds": round(seconds, 1)}))

    def _give_up_error(self, error: ModelError) -> Exception:
        """Returns RequeueJob if another worker may reach the model, else the model's error."""
        breaker = self._breaker
        if error is breaker.error:
            waited = asyncio.get_running_loop().time() - self._submitted
            return error if breaker.is_exhausted and waited >= self._patience else RequeueJob(error)
        # Once only: otherwise two workers would pass the job back and forth for ever.
        if not error.status and breaker.others_connected and self._reason != error.code:
            return RequeueJob(error)
        return error

    async def _retry(self, error: ModelError) -> None:
        loop = asyncio.get_running_loop()
        asked = error.retry_after if error.retry_after is not None else 0.5 * 2**self._retries
        # Never sooner than asked, and not all at once that were refused together.
        wait = asked * random.uniform(1.0, 1.25)
        if (
            not error.retryable
            or self._retries >= self._most_retries
            or asked > _MAX_RETRY_AFTER
            # Otherwise the job would end by its time limit, which hides the model's error.
            or loop.time() + wait >= self._ends(True)
        ):
            raise error
        self._retries += 1
        logger.info("job %s: %s; retry %d in %.1f s", self._job_id, error.code, self._retries, wait)
        await asyncio.sleep(wait)


def restart_reason(claim: Claim) -> str:
    """Returns why the attempt before this one ended; "" if there was none."""
    if claim.begun is None or claim.begun[0] != "restarted":
        return ""
    return str(orjson.loads(claim.begun[1]).get("reason"))
