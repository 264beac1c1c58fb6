"""The gate at which calls wait for a model that is away."""

from __future__ import annotations

import asyncio

import pytest

from readalong.core.errors import ModelError
from readalong.worker.model.gate import Gate, GateEpochs, Gates
from tests.support.waiting import WITHIN, until

AWAY = ModelError("model_unreachable", "It is away.", retryable=True, away=True)
CUT = ModelError("model_unreachable", "It hangs up.", retryable=True, away=True, connected=True)
BUSY = ModelError("model_error", "It is busy.", retryable=True, away=True, status=503)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readalong.worker.model.gate._FIRST", 0.01)


async def test_calls_that_fail_together_are_one_failure() -> None:
    """The epoch and the pause rise once. A call that began later counts."""
    gate = Gate()
    for _ in range(100):
        gate.failed(AWAY, 0)
    assert gate.epoch == 1
    assert await asyncio.wait_for(gate.enter(), WITHIN) is True
    gate.failed(AWAY, gate.epoch)
    assert gate.epoch == 2


async def test_an_answer_to_a_call_that_began_before_opens_nothing() -> None:
    gate = Gate()
    gate.failed(AWAY, 0)
    gate.answered(0)
    assert gate.error is not None
    gate.answered(1)
    assert await asyncio.wait_for(gate.enter(), WITHIN) is False


async def test_one_call_tries_and_all_others_go_when_it_gets_through() -> None:
    gate = Gate()
    gate.failed(AWAY, 0)
    calls = [asyncio.create_task(gate.enter()) for _ in range(20)]
    await until(lambda: any(call.done() for call in calls))
    assert sum(call.done() for call in calls) == 1
    gate.answered(gate.epoch)
    assert sorted(await asyncio.wait_for(asyncio.gather(*calls), WITHIN)) == [False] * 19 + [True]
    assert gate.waiting == 0


async def test_a_call_that_is_cancelled_as_its_turn_comes_leaves_it_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("readalong.worker.model.gate._FIRST", 1000.0)
    gate = Gate()
    gate.failed(AWAY, 0)
    first, second = (asyncio.create_task(gate.enter()) for _ in range(2))
    await asyncio.sleep(0)
    gate._probe_next()
    first.cancel()
    assert await asyncio.wait_for(second, WITHIN) is True
    assert first.cancelled()


async def test_a_call_that_is_cancelled_as_its_turn_comes_leaves_it_to_one_that_comes_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a pause of the process the end of its patience and its turn come together."""
    monkeypatch.setattr("readalong.worker.model.gate._PROBE_TIMEOUT", 1000.0)
    monkeypatch.setattr("readalong.worker.model.gate._FIRST", 1000.0)
    gate = Gate()
    gate.failed(AWAY, 0)
    call = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    gate._probe_next()
    call.cancel()
    await asyncio.wait([call])
    assert await asyncio.wait_for(gate.enter(), WITHIN) is True


async def test_a_status_closes_the_gate_of_its_model_alone() -> None:
    """It also shows that the server is reachable."""
    gates = Gates()
    gates.failed("a", AWAY, gates.epochs("a"))
    assert gates.closed("a") is gates.closed("b") is gates.server
    gates.failed("a", BUSY, gates.epochs("a"))
    assert [gates.closed(model) in (None, gates.server) for model in ("a", "b")] == [False, True]
    assert gates.closed("b") is None
    gates.answered("a", GateEpochs(1, 1))
    assert gates.closed("a") is None


async def test_a_cut_connection_closes_the_gate_of_its_model_alone() -> None:
    """Behind a gateway each model has a server of its own. A server that could not be reached is not back by a cut."""
    gates = Gates()
    gates.failed("a", CUT, gates.epochs("a"))
    assert gates.closed("a") is not None
    assert gates.closed("b") is None
    gates.failed("b", AWAY, gates.epochs("b"))
    gates.failed("b", CUT, gates.epochs("b"))
    assert gates.closed("c") is gates.server
    assert gates.server.epoch == 2


async def test_a_probe_without_a_result_lets_the_next_call_probe() -> None:
    """Its job is cancelled, for example. The others would wait until the probe times out."""
    gates = Gates()
    gates.failed("a", BUSY, gates.epochs("a"))
    gate = gates.closed("a")
    assert gate is not None
    assert await asyncio.wait_for(gate.enter(), WITHIN) is True
    due = gate.next_probe
    waits = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    gates.abandoned("a", gates.epochs("a"))
    assert gate.next_probe < due
    assert await asyncio.wait_for(waits, WITHIN) is True
