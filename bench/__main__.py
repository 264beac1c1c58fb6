"""`python -m bench`: measure, print, and write `results/latest.json` and the table in README.md.

With QUICK=1 in the environment it is short, and writes `results/quick.json` only.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson
import redis
import uvloop
from rich.console import Console

from bench import machine, report
from bench.latency import Starts
from bench.plan import FULL, QUICK, Plan
from bench.results import Results, collect
from bench.stack import BenchError, Stack
from bench.streams import Fanout, Streams

_RESULTS: Final = Path(__file__).parent / "results"


async def measure(stack: Stack, plan: Plan, console: Console) -> Results:
    """All rounds of a plan. Raises BenchError when something was not as it must be."""
    starts, streams, fanout = Starts(), Streams(plan), Fanout()
    await starts.warm_up(stack, plan.warm_up_jobs)
    # A collection of the client's own rubbish would count as delay.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for turn in range(plan.rounds):
            console.print(f"round {turn + 1} of {plan.rounds}: starts", end="", highlight=False)
            await starts.measure(stack, plan)
            console.print(", streams", end="")
            await streams.measure(stack, plan)
            console.print(", fan-out")
            await fanout.measure(stack, plan)
    finally:
        gc.enable()
        gc.unfreeze()
    return collect(plan, starts, streams, fanout)


def run(plan: Plan, console: Console) -> Results:
    """Starts everything, measures, stops everything."""
    load_before = os.getloadavg()[0]
    with Stack.start() as stack, redis.Redis.from_url(stack.redis.url) as server:
        described = machine.describe(server)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured = runner.run(measure(stack, plan, console))
    date = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"date": date, **described, "load_before": load_before, **measured}


def main() -> int:
    """Answers the exit code: 1 when something broke, 130 after a Ctrl-C."""
    # Not so narrow in a pipe or a CI log.
    console = Console(width=None if sys.stdout.isatty() else 160)
    quick = os.environ.get("QUICK", "") not in ("", "0")
    try:
        results = run(QUICK if quick else FULL, console)
    except BenchError as error:
        console.print(f"\n{error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    (_RESULTS / ("quick.json" if quick else "latest.json")).write_bytes(
        orjson.dumps(results, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    )
    if not quick:
        report.write_readme(results)
    report.show(results, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
