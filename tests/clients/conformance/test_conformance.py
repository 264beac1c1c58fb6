"""Both Python clients pass the conformance list, and the list is what /clients/conformance.md says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.clients.conformance.python_runner import Play
from tests.clients.conformance.scenario import Scenario
from tests.clients.conformance.scenarios import SCENARIOS

LIST = Path(__file__).parents[3] / "clients" / "conformance.md"


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda scenario: scenario.number)
def test_the_blocking_client(server: str, scenario: Scenario) -> None:
    play = Play.new(server, scenario.manifest())
    outcome = play.run_blocking()
    assert not outcome.differences(play.scenario["expect"], play.record()), scenario.title


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda scenario: scenario.number)
async def test_the_client_of_an_event_loop(server: str, scenario: Scenario) -> None:
    play = Play.new(server, scenario.manifest())
    outcome = await play.run_in_loop()
    record = await asyncio.to_thread(play.record)
    assert not outcome.differences(play.scenario["expect"], record), scenario.title


def test_the_list_names_every_scenario() -> None:
    """Whoever writes a client reads the list; it must not say less or more than the server plays."""
    listed = re.findall(r"^(\d+)\. (.+)$", LIST.read_text("utf-8"), re.MULTILINE)
    assert listed == [(str(scenario.number), scenario.title) for scenario in SCENARIOS.values()]
