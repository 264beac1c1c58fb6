"""`python -m bench`: measures, prints, and writes `results/latest.json`, the plots and the table in README.md.

With QUICK=1 in the environment the run is short and writes `results/quick.json` only.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import orjson
import uvloop
from rich.console import Console

from bench.harness.child import allow_many_files
from bench.harness.errors import BenchError
from bench.plan import FULL, QUICK, Plan
from bench.report import compare, table
from bench.run import measure

RESULTS: Final = Path(__file__).parent / "results"
LATEST: Final = RESULTS / "latest.json"


def run(plan: Plan, console: Console) -> dict[str, Any]:
    """Returns the results of a run, with its date and plan."""
    allow_many_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measured = runner.run(measure(plan, console))
    date = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"date": date, "quick": plan == QUICK, "plan": asdict(plan), **measured}


def main() -> int:
    """Returns the exit code: 1 for a failed run, 130 after a Ctrl-C."""
    # A pipe or a CI log gets wider lines.
    console = Console(width=None if sys.stdout.isatty() else 200)
    quick = os.environ.get("QUICK", "") not in ("", "0")
    try:
        found = run(QUICK if quick else FULL, console)
    except BenchError as error:
        console.print(f"\n{error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    before = compare.committed(LATEST)
    (RESULTS / "quick.json" if quick else LATEST).write_bytes(
        orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    )
    if not quick:
        table.write_readme(found)
        _draw(found, console)
    table.show(found, console)
    if before is None:
        console.print("\nThere is no committed run to compare this one with.")
        return 0
    lines = compare.worse(before, found)
    if before["quick"] != quick:
        console.print("\nThe committed run was of another length: what depends on it differs too.")
    console.print("\nWorse than the committed run:" if lines else "\nNothing is worse than in the committed run.")
    for line in lines:
        console.print(f"  {line}", highlight=False, markup=False)
    return 0


def _draw(found: dict[str, Any], console: Console) -> None:
    if find_spec("matplotlib") is None:
        console.print("no plots: matplotlib is not installed; `make bench` installs it", style="yellow")
        return
    import_module("bench.report.plots").draw(found, RESULTS)


if __name__ == "__main__":
    sys.exit(main())
