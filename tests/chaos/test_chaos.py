"""Half a minute of chaos: `make chaos` with a fixed seed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest
import uvloop

from tests.chaos.history import History
from tests.chaos.plan import Plan
from tests.chaos.run import run
from tests.chaos.verdict import verdict

_SEED: Final = 1729


@pytest.mark.timeout(900)
def test_nothing_is_lost_repeated_or_left_when_everything_breaks(tmp_path: Path) -> None:
    """Kills, stops, drains, cuts and silences, with jobs, cancels and watchers on all sides."""
    with History(tmp_path) as history, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(Plan(seed=_SEED, seconds=25), history))
    said, well = verdict(history)
    assert well, f"seed {_SEED}, {tmp_path}\n{said}"
    assert history.counts["submit"] > 20, said
