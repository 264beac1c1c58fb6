"""An attempt that is stopped or cancelled at any of its awaits leaves nothing: no task, no entry, no open stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from arq import Retry
from pydantic import AnyUrl

from readalong.core.errors import Fenced, ModelError
from readalong.core.events import Event
from readalong.core.settings import Settings
from readalong.store.log import AppendResult, Claim, ClaimStatus, ClaimTimes
from readalong.worker.attempt import Stop
from readalong.worker.job_runner import JobRunner
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.limits import Limits
from readalong.worker.model.openai.provider import read_batches
from readalong.worker.model.provider import Batch
from readalong.worker.model.providers import Providers
from readalong.worker.model.redaction import Redactor
from tests.support.waiting import WITHIN, until
from tests.worker.raw import DONE, HELLO

JOB = "a-job-of-the-tests"
#: A piece without a finish reason: a finish reason would complete the answer.
SAID = HELLO.replace(b'"stop"', b"null")
#: The places where an attempt waits, in order. When it is held at the model, the model is silent after its second
#: piece.
STEPS = (
    *("claim", "call", "piece 0", "append 0", "piece 1", "append 1", "rest", "leave"),
    *("finish", "compact", "refile"),
)


class Gate:
    """Lets every step pass but one, which waits for ever, or until it is opened."""

    def __init__(self, held: str) -> None:
        self.held = held
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self.passed: list[str] = []

    def hold(self, step: str) -> None:
        """Holds another step from now on."""
        self.held = step
        self.reached.clear()

    async def step(self, name: str) -> None:
        await asyncio.sleep(0)
        if name == self.held:
            self.reached.set()
            await self.open.wait()
        self.passed.append(name)

    def soon(self, name: str, then: Callable[[], None]) -> None:
        """Runs a callback like a step. A held one is dropped."""

        def step() -> None:
            if name == self.held:
                self.reached.set()
            else:
                self.passed.append(name)
                then()

        asyncio.get_running_loop().call_soon(step)


class FakeModel:
    """Says hello twice; `streams` is the number of its open streams."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.streams = 0
        self.calls = 0
        self.says = [SAID, SAID + DONE]
        self.read = 0

    @asynccontextmanager
    async def stream(self, request: dict[str, Any], chunks: ChunkAccumulator) -> AsyncIterator[AsyncIterator[Batch]]:
        self.calls += 1
        await self._gate.step("call")
        self.streams += 1
        pieces = self._pieces()
        batches = read_batches(pieces, chunks, Limits())
        try:
            yield batches
        finally:
            self.streams -= 1
            await batches.aclose()
            await pieces.aclose()
            await self._gate.step("leave")

    async def close(self) -> bool:
        return True

    async def _pieces(self) -> Any:
        for number, piece in enumerate(self.says):
            await self._gate.step(f"piece {number}")
            self.read += len(piece)
            yield piece
        await self._gate.step("rest")


class FakeLog:
    """Keeps its end and refuses writes after it. Without a connection, every append goes through `append`."""

    def __init__(self, gate: Gate, *, connected: bool, answer: AppendResult | Fenced | None) -> None:
        self._gate = gate
        self._appends = 0
        self._connected = connected
        self._answer = answer
        self.last_seq = 2
        self.end: str | None = None
        self.error: dict[str, Any] | None = None
        self.handed_over: str | None = None

    async def claim(self, job_id: str, worker: bytes, token: str, until: int) -> Claim:
        await self._gate.step("claim")
        return Claim(ClaimStatus.RUN, 1, 2, times=ClaimTimes(0.5), model="m", request=b'{"messages":[]}')

    def send(
        self,
        job_id: str,
        attempt: int,
        first: int,
        events: Sequence[tuple[str, bytes]],
        on_answer: Callable[[AppendResult | Exception], None],
        **_: bool,
    ) -> bool:
        if self._connected:
            number, self._appends = self._appends, self._appends + 1
            self._gate.soon(f"append {number}", lambda: on_answer(self._answer or self._write(first, events)))
        return self._connected

    async def append(self, job_id: str, attempt: int, first: int, events: Sequence[tuple[str, bytes]]) -> AppendResult:
        number, self._appends = self._appends, self._appends + 1
        await self._gate.step(f"append {number}")
        return self._write(first, events)

    async def finish(
        self, job_id: str, attempt: int, first: int, events: Sequence[tuple[str, bytes]], fields: dict[str, Any]
    ) -> AppendResult:
        await self._gate.step("finish")
        answer = self._write(first, events)
        self.end, self.error = events[-1][0], orjson.loads(events[-1][1]).get("error")
        return answer

    async def compact(self, job_id: str, attempt: int, first: int, events: Sequence[Event]) -> bool:
        await self._gate.step("compact")
        assert self.end is not None
        assert events[-1].seq == self.last_seq
        return True

    async def requeue(self, job_id: str, attempt: int, reason: str, *, counts: bool) -> None:
        await self._gate.step("hand over")
        self._check()
        self.handed_over = reason

    def _write(self, first: int, events: Sequence[tuple[str, bytes]]) -> AppendResult:
        self._check()
        self.last_seq = max(self.last_seq, first + len(events) - 1)
        return AppendResult("ok", self.last_seq, None)

    def _check(self) -> None:
        if self.end is not None:
            raise Fenced("ended", code="ended")


class FakeIndex:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.closed = False

    async def refile(self, *job_ids: str) -> None:
        await self._gate.step("refile")
        self.closed = True


class Stage:
    """A runner with fakes, held at one step."""

    def __init__(
        self, held: str, *, connected: bool = True, answer: AppendResult | Fenced | None = None, **settings: Any
    ) -> None:
        self.gate = Gate(held)
        self.log = FakeLog(self.gate, connected=connected, answer=answer)
        self.model = FakeModel(self.gate)
        self.index = FakeIndex(self.gate)
        known = Settings(redis_url=AnyUrl("redis://127.0.0.1:1/0"), **settings)
        log: Any = self.log
        index: Any = self.index
        providers = Providers(self.model, {}, Redactor())
        turns: Any = None  # no job of these tests is a turn
        self.runner = JobRunner(
            known, log, index, providers, {"id": "w"}, turns=turns, on_memory_error=self.gate.reached.set
        )
        self.task = asyncio.create_task(self.runner.run(JOB), name="the attempt")

    async def held(self) -> None:
        await asyncio.wait_for(self.gate.reached.wait(), WITHIN)

    async def outcome(self) -> str:
        """Returns how the runner's call ended."""
        try:
            await asyncio.wait_for(asyncio.shield(self.task), WITHIN)
        except Retry:
            return "retry"
        except asyncio.CancelledError:
            return "cancelled"
        return "ended"

    def check_empty(self) -> None:
        """Checks that nothing is left of the attempt."""
        assert self.task.done()
        assert self.runner.attempts == {}
        assert self.model.streams == 0
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert tasks == set(), tasks
        timers = [handle for handle in scheduled() if not handle.cancelled()]
        assert timers == []


def scheduled() -> list[asyncio.TimerHandle]:
    """Returns the timers of attempts that the loop still holds."""
    handles: list[asyncio.TimerHandle] = getattr(asyncio.get_running_loop(), "_scheduled")  # noqa: B009  # mypy knows no such attribute
    return [handle for handle in handles if "_watch_time" in repr(handle)]


async def test_a_run_that_nothing_stops_passes_every_step_and_leaves_nothing() -> None:
    stage = Stage("none")
    assert await stage.outcome() == "ended"
    assert stage.gate.passed == list(STEPS)
    assert (stage.log.end, stage.index.closed) == ("done", True)
    stage.check_empty()


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("step", STEPS)
async def test_a_run_that_is_cancelled_from_outside_leaves_nothing(step: str, *, connected: bool) -> None:
    """The worker's close does so, and so does a second signal."""
    stage = Stage(step, connected=connected)
    await stage.held()
    stage.task.cancel()
    assert await stage.outcome() == "cancelled"
    stage.check_empty()
    assert stage.log.end == ("done" if step in ("compact", "refile") else None)


STREAMING = ("call", "piece 0", "append 0", "piece 1", "append 1")


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("step", STREAMING)
@pytest.mark.parametrize(
    ("stop", "outcome", "end", "handed_over"),
    [
        (Stop.CANCELLED, "ended", "cancelled", None),
        (Stop.FENCED, "retry", None, None),
        (Stop.DRAIN, "retry", None, "worker_stopped"),
        (Stop.FAILED, "ended", "failed", None),
    ],
)
async def test_an_order_to_stop_is_obeyed_at_every_step_and_leaves_nothing(
    step: str, stop: Stop, outcome: str, end: str | None, handed_over: str | None, *, connected: bool
) -> None:
    stage = Stage(step, connected=connected)
    await stage.held()
    error = ModelError("model_timeout", "too late", retryable=True) if stop is Stop.FAILED else None
    stage.runner.attempts[JOB].interrupt(stop, by="me", error=error)
    stage.gate.open.set()
    assert await stage.outcome() == outcome
    assert (stage.log.end, stage.log.handed_over) == (end, handed_over)
    assert stage.index.closed is (outcome == "ended")
    assert stage.model.calls == 1
    stage.check_empty()


@pytest.mark.parametrize(
    ("answer", "outcome", "end", "closed"),
    [
        (Fenced("no", code="fenced"), "retry", None, False),
        (Fenced("no", code="ended"), "ended", None, True),
        (AppendResult("ok", 3, "me"), "ended", "cancelled", True),
    ],
)
async def test_what_an_append_answers_stops_a_run_that_waits_for_its_model(
    answer: AppendResult | Fenced, outcome: str, end: str | None, closed: bool
) -> None:
    stage = Stage("piece 1", answer=answer)
    assert await stage.outcome() == outcome
    assert (stage.log.end, stage.log.handed_over, stage.index.closed) == (end, None, closed)
    assert stage.gate.passed[:4] == ["claim", "call", "piece 0", "append 0"]
    stage.check_empty()


async def test_a_model_is_not_read_on_and_not_called_silent_when_too_much_waits_for_an_answer() -> None:
    stage = Stage("append 0", stall_timeout=0.5, job_timeout=3)
    stage.model.says = [SAID] * 10_000
    assert await stage.outcome() == "ended"
    assert (stage.log.error or {})["code"] == "job_timeout"
    assert 65_536 < stage.model.read < 65_536 + 3 * len(SAID)
    stage.check_empty()


async def test_all_that_was_said_is_appended_before_the_end_is_written() -> None:
    """The flag in the last reply counts."""
    stage = Stage("append 0")
    await stage.held()
    await until(lambda: stage.model.read == len(SAID + SAID + DONE))
    assert "finish" not in stage.gate.passed
    stage.runner.attempts[JOB].interrupt(Stop.CANCELLED, by="me")
    assert await stage.outcome() == "ended"
    assert stage.log.end == "cancelled"
    stage.check_empty()


@pytest.mark.parametrize("stop", [Stop.DRAIN, Stop.FAILED])
async def test_an_order_to_stop_that_comes_after_the_finish_reason_ends_the_job_as_done(stop: Stop) -> None:
    """The time is over, or the worker stops: another attempt would only repeat everything."""
    stage = Stage("piece 1")
    stage.model.says[0] = HELLO
    await stage.held()
    error = ModelError("model_stalled", "silent", retryable=True) if stop is Stop.FAILED else None
    stage.runner.attempts[JOB].interrupt(stop, error=error)
    assert await stage.outcome() == "ended"
    assert (stage.log.end, stage.log.handed_over) == ("done", None)
    stage.check_empty()


@pytest.mark.parametrize("step", ["rest", "leave", "finish", "compact", "refile"])
async def test_an_order_to_stop_that_comes_when_all_is_said_changes_nothing(step: str) -> None:
    stage = Stage(step)
    await stage.held()
    for attempt in stage.runner.attempts.values():
        attempt.interrupt(Stop.CANCELLED)
    stage.gate.open.set()
    assert await stage.outcome() == "ended"
    assert stage.log.end == "done"
    stage.check_empty()


async def test_the_first_order_counts() -> None:
    stage = Stage("piece 1")
    await stage.held()
    attempt = stage.runner.attempts[JOB]
    attempt.interrupt(Stop.CANCELLED, by="first")
    attempt.interrupt(Stop.FENCED)
    attempt.interrupt(Stop.DRAIN)
    assert await stage.outcome() == "ended"
    assert stage.log.end == "cancelled"
    stage.check_empty()


@pytest.mark.parametrize("step", ["finish", "hand over"])
async def test_an_end_that_is_cancelled_while_it_is_written_leaves_nothing(step: str) -> None:
    """A worker is closed while Redis is away."""
    stage = Stage("piece 1")
    await stage.held()
    stage.gate.hold(step)
    stage.runner.attempts[JOB].interrupt(Stop.DRAIN if step == "hand over" else Stop.CANCELLED)
    await stage.held()
    stage.task.cancel()
    assert await stage.outcome() == "cancelled"
    assert (stage.log.end, stage.log.handed_over) == (None, None)
    stage.check_empty()


async def test_a_cancellation_from_outside_and_an_order_at_once_leave_nothing() -> None:
    stage = Stage("piece 1")
    await stage.held()
    stage.runner.attempts[JOB].interrupt(Stop.DRAIN)
    stage.task.cancel()
    assert await stage.outcome() in ("retry", "cancelled")
    stage.check_empty()


@pytest.mark.parametrize(
    ("settings", "step", "code"),
    [
        ({"first_token_timeout": 0.5}, "call", "model_timeout"),
        ({"first_token_timeout": 0.5}, "piece 0", "model_timeout"),
        ({"stall_timeout": 0.5}, "piece 1", "model_stalled"),
        ({"job_timeout": 0.5}, "append 0", "job_timeout"),
        ({"job_timeout": 0.5}, "piece 1", "job_timeout"),
    ],
)
async def test_a_run_that_its_own_clock_stops_leaves_nothing(settings: dict[str, Any], step: str, code: str) -> None:
    stage = Stage(step, **settings)
    await stage.held()
    assert await stage.outcome() == "ended"
    assert (stage.log.end, (stage.log.error or {})["code"]) == ("failed", code)
    stage.check_empty()
