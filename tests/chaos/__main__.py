"""`python -m tests.chaos`: MINUTES (10) of chaos from SEED (random), then the checker's report."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.chaos.history import History
from tests.chaos.plan import Plan
from tests.chaos.run import run
from tests.chaos.verdict import verdict


def main() -> int:
    """Returns the exit code: 1 for a failed run, 130 after a Ctrl-C."""
    minutes = float(os.environ.get("MINUTES") or 10)
    seed = int(os.environ.get("SEED") or secrets.randbelow(1_000_000))
    directory = Path(tempfile.mkdtemp(prefix="readalong-chaos-"))
    print(f"seed {seed}: {minutes:g} minutes of chaos, written to {directory}", flush=True)
    whole = False
    try:
        with History(directory) as history, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(Plan(seed=seed, seconds=60 * minutes), history))
        said, whole = verdict(history)
        print(said)
    except KeyboardInterrupt:
        return 130
    finally:
        if whole:
            shutil.rmtree(directory)
        else:
            print(f"the history is kept in {directory}")
        print(f"seed {seed}", flush=True)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
