"""When a run calls its model, and what follows from a call that failed before the first token."""

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
from readalong.worker.model.breaker import Breaker, GivenBack
from readalong.worker.model.gate import Gate, Gates, Turns

logger = logging.getLogger(__name__)

#: Longest that a Retry-After may make a job wait which is only tried again, in seconds; beyond it the job fails.
_LONGEST_RETRY_AFTER: Final = 60.0


class Access:
    """The worker's way to its model, which all its runs share."""

    def __init__(self, settings: Settings) -> None:
        self.gates = Gates()
        self.breaker = Breaker(settings, self.gates)
        #: The worker stops: nothing waits for a model any more.
        self.stopping = False


class ModelCall:
    """The calls of one run. `tell` appends an event; `ends` returns when the run's time is over, by the loop's clock:
    the time for the first token, too, if it is told so."""

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
        #: Why the job was given back before, if it was.
        self._reason = restart_reason(claim)
        self._tell = tell
        self._ends = ends
        self._retries = 0
        self._turns = Turns()
        self._called_at = 0.0
        #: When the model was first found away, and the reason that watchers were told last.
        self._away_since: float | None = None
        self._told = ""
        #: What the model said when it was last called, while the run waits to call it again; else None.
        self.waits_for: ModelError | None = None
        #: Seconds that the run has waited for a model that is away.
        self.waited = 0.0

    async def begin(self) -> None:
        """Waits until the model may be called. Raises ModelError when the job can wait no longer, and GivenBack when it
        is better off with another worker."""
        breaker = self._breaker
        lent = False
        while self._patience:
            if breaker.error is not None and not lent:
                if not breaker.lend(self._model):
                    raise self._out(breaker.error)
                lent = True
            gate = self._gates.closed(self._model)
            if gate is None or await self._wait(gate):
                break
        self._turns = self._gates.turns(self._model)
        self._called_at = asyncio.get_running_loop().time()

    def answered(self) -> None:
        """The model's answer begins."""
        self._gates.answered(self._model, self._turns)

    def begun(self) -> None:
        """The model has said something."""
        self._breaker.let_in()

    async def failed(self, error: ModelError) -> None:
        """A call failed before the first token. Returns when another may be begun; else raises."""
        if not self._patience:
            return await self._retry(error)
        if error.away:
            self._gates.failed(self._model, error, self._turns)
            asked = asyncio.get_running_loop().time() + (error.retry_after or 0.0)
            if asked >= self._give_up():
                raise self._out(error)  # at once: it would be no use to wait
            return None
        if error.status:
            self._gates.answered(self._model, self._turns)
        if error.refuses:
            waited = asyncio.get_running_loop().time() - self._submitted
            again = self._reason == error.code
            if self._breaker.refused(error, self._model, self._called_at, waited, again=again):
                raise GivenBack(error)
            raise error
        return await self._retry(error)

    async def _wait(self, gate: Gate) -> bool:
        """Waits at a closed gate. Returns whether this run is the one that tries the model."""
        assert gate.error is not None
        loop = asyncio.get_running_loop()
        began = loop.time()
        give_up = self._give_up()
        if self._access.stopping:
            raise GivenBack(ModelError("worker_stopped", "The worker stops.", retryable=True))
        due = gate.due > began and not gate.trying  # a worker that was paused tries before it gives up its jobs
        if self._breaker.hopeless and began - self._submitted >= self._patience and due:
            raise self._out(gate.error)
        error = self.waits_for = gate.error
        self._tell_of(gate)
        try:
            async with asyncio.timeout_at(give_up):
                return await gate.enter()
        except TimeoutError:
            raise self._out(error) from None
        finally:
            self.waits_for = None
            self.waited += loop.time() - began

    def _give_up(self) -> float:
        """Until when the run waits for a model that it has found away."""
        if self._away_since is None:
            self._away_since = asyncio.get_running_loop().time()
        return min(self._away_since + self._patience, self._ends(False))

    def _tell_of(self, gate: Gate) -> None:
        """Tells watchers that the job waits, and why: once for each reason, not for each try."""
        if gate.error is None or gate.error.code == self._told:
            return
        self._told = gate.error.code
        seconds = max(0.0, gate.due - asyncio.get_running_loop().time())
        logger.info("job %s waits for its model: %s", self._job_id, gate.error.message)
        self._tell(NewEvent("waiting", {"for": "model", "reason": self._told, "seconds": round(seconds, 1)}))

    def _out(self, error: ModelError) -> Exception:
        """What ends a run that may wait no longer: its model's error, unless another worker may get through."""
        breaker = self._breaker
        if error is breaker.error:
            waited = asyncio.get_running_loop().time() - self._submitted
            return error if breaker.hopeless and waited >= self._patience else GivenBack(error)
        # Once only: two workers would give the job to each other for ever.
        if not error.status and breaker.others and self._reason != error.code:
            return GivenBack(error)
        return error

    async def _retry(self, error: ModelError) -> None:
        loop = asyncio.get_running_loop()
        asked = error.retry_after if error.retry_after is not None else 0.5 * 2**self._retries
        # Never sooner than was asked, and not all of those that were refused together at once.
        wait = asked * random.uniform(1.0, 1.25)
        if (
            not error.retryable
            or self._retries >= self._most_retries
            or asked > _LONGEST_RETRY_AFTER
            # The job's time would be over, and its error would tell of that and not of the model.
            or loop.time() + wait >= self._ends(True)
        ):
            raise error
        self._retries += 1
        logger.info("job %s: %s; retry %d in %.1f s", self._job_id, error.code, self._retries, wait)
        await asyncio.sleep(wait)


def restart_reason(claim: Claim) -> str:
    """Why the attempt before this one ended; "" if there was none."""
    if claim.begun is None or claim.begun[0] != "restarted":
        return ""
    return str(orjson.loads(claim.begun[1]).get("reason"))
