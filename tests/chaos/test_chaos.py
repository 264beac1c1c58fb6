"""A minute of chaos: `make chaos` with two fixed seeds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import uvloop

from tests.chaos.history import History
from tests.chaos.plan import Plan
from tests.chaos.run import run
from tests.chaos.verdict import verdict


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [4, 1729])
def test_nothing_is_lost_repeated_or_left_when_everything_breaks(seed: int, tmp_path: Path) -> None:
    """Kills, stops, drains, cuts and silences, with jobs, cancels and watchers on all sides."""
    with History(tmp_path) as history, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(Plan(seed=seed, seconds=25), history))
    said, well = verdict(history)
    assert well, f"seed {seed}, {tmp_path}\n{said}"
    assert history.counts["submit"] > 20, said
