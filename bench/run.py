"""All measurements of a plan, in turns."""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis
from rich.console import Console

from bench.contenders.roster import CONTENDERS, versions
from bench.harness import machine
from bench.harness.jobs import Jobs
from bench.harness.stack import Stack
from bench.load.crowd import Crowd
from bench.plan import Plan
from bench.rows import deaths, fanout, flat, formats, late, listing, starts, weight
from bench.rows.faces import Faces
from bench.rows.streams import Streams, commands

Results = dict[str, Any]
#: The version of the results; those of another cannot be compared.
FORMAT: Final = 2

#: Reports the present measurement.
Tell = Callable[[str], None]


async def measure(plan: Plan, console: Console) -> Results:
    """Starts everything, measures, stops everything. Raises BenchError when a measurement fails its checks."""
    begun = time.monotonic()

    def tell(what: str) -> None:
        console.print(f"{time.monotonic() - begun:4.0f} s  {what}", highlight=False)

    load_before = os.getloadavg()[0]
    with Stack.start() as stack:
        with redis.Redis.from_url(stack.redis.url) as server:
            described = machine.describe(server, versions())
        async with Crowd.start(stack) as crowd, Jobs.on(stack.redis.url) as jobs:
            with _quiet():
                fan_out = await _fan_out(stack, crowd, plan, tell)
                tell("the wire formats")
                in_formats = await formats.measure(stack, plan)
                with stack.pipeline():
                    pipeline = await _pipeline(stack, crowd, jobs, plan, tell)
                tell("the fan-out in a full Redis")
                pipeline["flat"]["with"]["fanout"] = await fanout.alone(CONTENDERS[0], stack, crowd, plan)
    missing = {contender.name: why for contender in CONTENDERS if (why := contender.missing())}
    return {
        "format": FORMAT,
        **described,
        "load_before": load_before,
        "wall_seconds": time.monotonic() - begun,
        "missing": missing,
        "fanout": fan_out,
        "formats": in_formats,
        **pipeline,
    }


async def _fan_out(stack: Stack, crowd: Crowd, plan: Plan, tell: Tell) -> Results:
    """Runs each contender alone, in random order."""
    found = {}
    floods = {"readalong": plan.flood[0], "nchan": plan.flood[1]}
    for contender in random.sample(CONTENDERS, len(CONTENDERS)):
        if why := contender.missing():
            tell(f"{contender.name} is left out: {why}")
            continue
        tell(f"fan-out: {contender.name}")
        found[contender.name] = await fanout.visit(
            contender, stack, crowd, plan, floods.get(contender.name, plan.flood[2])
        )
    return {contender.name: found[contender.name] for contender in CONTENDERS if contender.name in found}


async def _pipeline(stack: Stack, crowd: Crowd, jobs: Jobs, plan: Plan, tell: Tell) -> Results:
    """Runs the measurements that need the model and a worker."""
    times, streams, openai = starts.Starts(), Streams(plan), Faces()
    await starts.warm_up(stack, plan.warm_up_jobs)
    await openai.warm_up(stack, plan)
    for turn in range(plan.rounds):
        tell(f"pipeline, round {turn + 1} of {plan.rounds}")
        await times.measure(stack, plan)
        await streams.measure(stack, plan, plan.streams[: 1 if turn else None])
        await times.measure_loaded(stack, plan)
        await openai.measure(stack, plan)
    tell("commands, memory, late watchers")
    found: Results = {
        "streams": streams.found(),
        "starts": times.found(),
        "faces": openai.found(plan),
        "commands": await commands(stack, plan),
        "weight": await weight.weigh(stack, plan),
        "late": await late.join(stack, jobs, plan),
        "return": {
            name: await late.come_back(stack, jobs, crowd, plan, live=live)
            for name, live in (("live", True), ("finished", False))
        },
    }
    tell(f"pages of the list with {plan.few_jobs} jobs")
    await flat.finished(jobs, plan.few_jobs)
    few = await listing.pages(stack, plan)
    tell(f"again beside {plan.finished_jobs} finished jobs and {plan.elsewhere_jobs} elsewhere")
    earlier = {"streams": found["streams"][str(plan.streams[0])]["readalong"], "starts": found["starts"]["idle"]}
    found["flat"] = await flat.pipeline(stack, jobs, plan, earlier)
    found["listing"] = {"few": few, "many": await listing.pages(stack, plan)}
    tell("kills of workers")
    found["deaths"] = await deaths.kill(stack, plan)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the garbage collector off: a collection in the client would count as delay."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
