"""All measurements of a plan, in turns."""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from rich.console import Console

from bench.contenders.roster import CONTENDERS, versions
from bench.harness import machine
from bench.harness.jobs import Jobs
from bench.harness.stack import Stack
from bench.load.crowd import Crowd
from bench.plan import Plan
from bench.rows import fanout, flat, late, starts, weight
from bench.rows.streams import Streams, commands

Results = dict[str, Any]


async def measure(plan: Plan, console: Console) -> Results:
    """Starts everything, measures, stops everything. Raises BenchError when something was not as it must be."""
    load_before, start = os.getloadavg()[0], time.monotonic()
    with Stack.start() as stack:
        with redis.Redis.from_url(stack.redis.url) as server:
            described = machine.describe(server, versions())
        async with Crowd.start(stack) as crowd, Jobs.on(stack.redis.url) as jobs:
            with _quiet():
                fan_out = await _fan_out(stack, crowd, plan, console)
                with stack.pipeline():
                    pipeline = await _pipeline(stack, crowd, jobs, plan, console)
                console.print("the fan-out in a full Redis")
                pipeline["flat"]["with"]["fanout"] = await fanout.alone(CONTENDERS[0], stack, crowd, plan)
    missing = {contender.name: why for contender in CONTENDERS if (why := contender.missing())}
    return {
        **described,
        "load_before": load_before,
        "wall_seconds": time.monotonic() - start,
        "missing": missing,
        "fanout": fan_out,
        **pipeline,
    }


async def _fan_out(stack: Stack, crowd: Crowd, plan: Plan, console: Console) -> Results:
    """Each contender alone, in an order that is drawn by lot."""
    found = {}
    floods = {"readalong": plan.flood[0], "nchan": plan.flood[1]}
    for contender in random.sample(CONTENDERS, len(CONTENDERS)):
        if why := contender.missing():
            console.print(f"{contender.name} is left out: {why}", highlight=False)
            continue
        console.print(f"fan-out: {contender.name}", highlight=False)
        found[contender.name] = await fanout.visit(
            contender, stack, crowd, plan, floods.get(contender.name, plan.flood[2])
        )
    return {contender.name: found[contender.name] for contender in CONTENDERS if contender.name in found}


async def _pipeline(stack: Stack, crowd: Crowd, jobs: Jobs, plan: Plan, console: Console) -> Results:
    """What needs the model and a worker."""
    times, streams = starts.Starts(), Streams(plan)
    await starts.warm_up(stack, plan.warm_up_jobs)
    for turn in range(plan.rounds):
        console.print(f"pipeline, round {turn + 1} of {plan.rounds}", highlight=False)
        await times.measure(stack, plan)
        await streams.measure(stack, plan)
        await times.measure_loaded(stack, plan)
    console.print("commands, memory, late watchers")
    found: Results = {
        "streams": streams.found(),
        "starts": times.found(),
        "commands": await commands(stack, plan),
        "weight": await weight.weigh(stack, plan),
        "late": await late.join(stack, jobs, plan),
        "return": {
            name: await late.come_back(stack, jobs, crowd, plan, live=live)
            for name, live in (("live", True), ("finished", False))
        },
    }
    console.print(f"again beside {plan.finished_jobs} finished jobs and {plan.elsewhere_jobs} elsewhere")
    found["flat"] = await flat.pipeline(stack, jobs, plan)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """A collection of the client's own rubbish would count as delay."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
