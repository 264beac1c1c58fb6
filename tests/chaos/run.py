"""One run: the cluster is started, used and broken for a while, mended, and left in peace; its history stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Final

from tests.chaos.after import logs, most_bytes, readings, shut_times, traces, when_quiet
from tests.chaos.cluster import Cluster
from tests.chaos.customer import Customer
from tests.chaos.history import History
from tests.chaos.intruder import Intruder
from tests.chaos.nemesis import Nemesis
from tests.chaos.plan import Plan
from tests.chaos.vandal import Vandal
from tests.chaos.wish import Wish, hostile_wish_of, wish_of

_TICK: Final = 0.1
#: Seconds between two looks at the processes' memory; the system keeps the most meanwhile.
_WEIGHING: Final = 0.5
#: Seconds by which this process may wake up late without a word about it.
_LATE: Final = 0.3


async def run(plan: Plan, history: History) -> None:
    """Leaves the files in the history's directory. Troubles are in `history.troubles`."""
    seeds = Random(plan.seed)
    wishes, strikes, rubbish, attacks = (Random(seeds.getrandbits(64)) for _ in range(4))
    history.keep("run.json", {"started": time.time(), **plan.shown()})
    pulse = asyncio.create_task(_pulse(history), name="pulse")
    try:
        async with Cluster(plan, history) as cluster:
            before = await readings(cluster)
            supervisor = asyncio.create_task(cluster.supervise(), name="supervisor")
            vandal = asyncio.create_task(Vandal(history, cluster.urls, rubbish).run(), name="vandal")
            intruder = asyncio.create_task(Intruder(history, cluster, attacks).run(), name="intruder")
            scales = asyncio.create_task(_weigh(cluster), name="scales")
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
                intruder.cancel()
                # An attack that broke would be one that was never made.
                for broken in await asyncio.gather(intruder, return_exceptions=True):
                    if not isinstance(broken, asyncio.CancelledError):
                        history.trouble(f"the intruder broke: {broken!r}")
                found = await when_quiet(cluster, plan.settle)
                shut = shut_times({one.name: one.log.read_text(errors="replace") for one in cluster.stack.workers})
                more = {"traces": await traces(cluster), "memory": cluster.memory, "shut": shut}
                history.keep("after.json", {**found, "before": before, **more})
                history.keep_lines("logs.jsonl", [line async for line in logs(cluster)])
            finally:
                helpers = (supervisor, vandal, intruder, scales)
                for task in helpers:
                    task.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
    finally:
        pulse.cancel()
        await asyncio.gather(pulse, return_exceptions=True)


async def _customers(plan: Plan, cluster: Cluster, history: History, dice: Random) -> None:
    """So many at a time, each followed by the next, until the time is over; returns when the last one is served."""
    loop = asyncio.get_running_loop()
    over = loop.time() + plan.seconds
    numbers = count(1)

    async def serve(wished: Callable[[Random, str], Wish]) -> None:
        while loop.time() < over:
            wish = wished(Random(dice.getrandbits(64)), f"j{next(numbers)}")
            own = Random(dice.getrandbits(64))
            await Customer(history, cluster, wish, own).run()

    async with asyncio.TaskGroup() as group:
        for _ in range(plan.jobs):
            group.create_task(serve(wish_of))
        for _ in range(plan.hostile):
            group.create_task(serve(hostile_wish_of))


async def _weigh(cluster: Cluster) -> None:
    """Notes the most that each process has had in memory."""
    while True:
        for process in cluster.processes:
            cluster.memory[process.name] = max(cluster.memory.get(process.name, 0), most_bytes(process))
        await asyncio.sleep(_WEIGHING)


async def _pulse(history: History) -> None:
    """Notes when this loop was late: the machine was busy, and so were the others on it."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _TICK
        await asyncio.sleep(_TICK)
        late = loop.time() - due
        if late > _LATE:
            history.fault("lag", time.time() - late, seconds=round(late, 3))
