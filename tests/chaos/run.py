"""One run: the cluster is started, used and broken for a while, mended, and left in peace; its history stays."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from random import Random
from typing import Final

from tests.chaos.after import logs, readings, traces, when_quiet
from tests.chaos.cluster import Cluster
from tests.chaos.customer import Customer
from tests.chaos.history import History
from tests.chaos.nemesis import Nemesis
from tests.chaos.plan import Plan
from tests.chaos.vandal import Vandal
from tests.chaos.wish import wish_of

_TICK: Final = 0.1
#: Seconds by which this process may wake up late without a word about it.
_LATE: Final = 0.3


async def run(plan: Plan, history: History) -> None:
    """Leaves the files in the history's directory. Troubles are in `history.troubles`."""
    seeds = Random(plan.seed)
    wishes, strikes, rubbish = (Random(seeds.getrandbits(64)) for _ in range(3))
    history.keep("run.json", {"started": time.time(), **plan.shown()})
    pulse = asyncio.create_task(_pulse(history), name="pulse")
    try:
        async with Cluster(plan, history) as cluster:
            before = await readings(cluster)
            supervisor = asyncio.create_task(cluster.supervise(), name="supervisor")
            vandal = asyncio.create_task(Vandal(history, cluster.urls, rubbish).run(), name="vandal")
            nemesis = Nemesis(cluster, history, strikes, plan.pause)
            try:
                async with asyncio.TaskGroup() as group:
                    striking = group.create_task(nemesis.run(), name="nemesis")
                    customers = group.create_task(_customers(plan, cluster, history, wishes), name="customers")
                    await asyncio.sleep(plan.seconds)
                    nemesis.rest()
                    await striking
                    _, late = await asyncio.wait([customers], timeout=plan.settle)
                    if late:
                        history.trouble("clients were not served to the end")
                        customers.cancel()
                vandal.cancel()
                found = await when_quiet(cluster, plan.settle)
                history.keep("after.json", {**found, "before": before, "traces": await traces(cluster)})
                history.keep_lines("logs.jsonl", [line async for line in logs(cluster)])
            finally:
                for task in (supervisor, vandal):
                    task.cancel()
                await asyncio.gather(supervisor, vandal, return_exceptions=True)
    finally:
        pulse.cancel()
        await asyncio.gather(pulse, return_exceptions=True)


async def _customers(plan: Plan, cluster: Cluster, history: History, dice: Random) -> None:
    """So many at a time, each followed by the next, until the time is over; returns when the last one is served."""
    loop = asyncio.get_running_loop()
    over = loop.time() + plan.seconds
    numbers = count(1)

    async def serve() -> None:
        while loop.time() < over:
            wish = wish_of(Random(dice.getrandbits(64)), f"j{next(numbers)}")
            own = Random(dice.getrandbits(64))
            await Customer(history, cluster, wish, own).run()

    async with asyncio.TaskGroup() as group:
        for _ in range(plan.jobs):
            group.create_task(serve())


async def _pulse(history: History) -> None:
    """Notes when this loop was late: the machine was busy, and so were the others on it."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _TICK
        await asyncio.sleep(_TICK)
        late = loop.time() - due
        if late > _LATE:
            history.fault("lag", time.time() - late, seconds=round(late, 3))
