"""One run: the cluster starts, serves and suffers faults for a while, heals, and comes to rest; its history stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Final

from tests.chaos.attacker import Attacker
from tests.chaos.client_plan import ClientPlan, draw_hostile_plan, draw_plan
from tests.chaos.cluster import Cluster
from tests.chaos.final_state import logs, most_bytes, readings, shut_times, traces, waited, when_quiet
from tests.chaos.fuzz_client import FuzzClient
from tests.chaos.history import History
from tests.chaos.job_client import JobClient
from tests.chaos.nemesis import Nemesis
from tests.chaos.plan import Plan

_TICK: Final = 0.1
#: Seconds between two samples of the processes' memory; the system keeps the peak.
_MEMORY_INTERVAL: Final = 0.5
#: Seconds of delay of this process that are not recorded.
_LATE: Final = 0.3
#: Seconds between two samples of the time that processes wait for a processor, and the part of it that starves one.
_WAIT_INTERVAL: Final = 1.0
_STARVED: Final = 0.8


async def run(plan: Plan, history: History) -> None:
    """Leaves the files in the history's directory. `history.troubles` has the troubles."""
    seeds = Random(plan.seed)
    plan_rng, fault_rng, fuzz_rng, attack_rng = (Random(seeds.getrandbits(64)) for _ in range(4))
    history.keep("run.json", {"started": time.time(), **plan.shown()})
    delays = asyncio.create_task(_record_delays(history), name="delays")
    try:
        async with Cluster(plan, history) as cluster:
            before = await readings(cluster)
            supervisor = asyncio.create_task(cluster.supervise(), name="supervisor")
            fuzz_client = asyncio.create_task(FuzzClient(history, cluster.urls, fuzz_rng).run(), name="fuzz client")
            attacker = asyncio.create_task(Attacker(history, cluster, attack_rng).run(), name="attacker")
            memory_gauge = asyncio.create_task(_gauge_memory(cluster), name="memory gauge")
            waits = asyncio.create_task(_record_waits(cluster, history), name="waits")
            nemesis = Nemesis(cluster, history, fault_rng, plan.pause)
            try:
                async with asyncio.TaskGroup() as group:
                    faults = group.create_task(nemesis.run(), name="nemesis")
                    clients = group.create_task(_clients(plan, cluster, history, plan_rng), name="clients")
                    await asyncio.sleep(plan.seconds)
                    nemesis.rest()
                    await faults
                    _, late = await asyncio.wait([clients], timeout=plan.settle)
                    if late:
                        history.trouble("clients were not served to the end")
                        clients.cancel()
                fuzz_client.cancel()
                attacker.cancel()
                # An attacker that fails silently would attack no more.
                for broken in await asyncio.gather(attacker, return_exceptions=True):
                    if not isinstance(broken, asyncio.CancelledError):
                        history.trouble(f"the attacker broke: {broken!r}")
                found = await when_quiet(cluster, plan.settle)
                shut = shut_times({one.name: one.log.read_text(errors="replace") for one in cluster.stack.workers})
                more = {"traces": await traces(cluster), "memory": cluster.memory, "shut": shut}
                history.keep("after.json", {**found, "before": before, **more})
                history.keep_lines("logs.jsonl", [line async for line in logs(cluster)])
            finally:
                helpers = (supervisor, fuzz_client, attacker, memory_gauge, waits)
                for task in helpers:
                    task.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
    finally:
        delays.cancel()
        await asyncio.gather(delays, return_exceptions=True)


async def _clients(plan: Plan, cluster: Cluster, history: History, rng: Random) -> None:
    """Runs this many clients at a time, each followed by the next, until the time is over; returns when all have
    finished.
    """
    loop = asyncio.get_running_loop()
    over = loop.time() + plan.seconds
    numbers = count(1)

    async def serve(draw: Callable[[Random, str], ClientPlan]) -> None:
        while loop.time() < over:
            client_plan = draw(Random(rng.getrandbits(64)), f"j{next(numbers)}")
            own = Random(rng.getrandbits(64))
            await JobClient(history, cluster, client_plan, own).run()

    async with asyncio.TaskGroup() as group:
        for _ in range(plan.jobs):
            group.create_task(serve(draw_plan))
        for _ in range(plan.hostile):
            group.create_task(serve(draw_hostile_plan))


async def _gauge_memory(cluster: Cluster) -> None:
    """Records the peak memory of each process."""
    while True:
        for process in cluster.processes:
            cluster.memory[process.name] = max(cluster.memory.get(process.name, 0), most_bytes(process))
        await asyncio.sleep(_MEMORY_INTERVAL)


async def _record_delays(history: History) -> None:
    """Records when this loop was late: the machine was busy, so the other processes were delayed as well."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _TICK
        await asyncio.sleep(_TICK)
        late = loop.time() - due
        if late > _LATE:
            history.fault("lag", time.time() - late, seconds=round(late, 3))


async def _record_waits(cluster: Cluster, history: History) -> None:
    """Records when any process was kept from the processor: a worker that misses its renewals loses its leases."""
    last: dict[int, float] = {}
    since: float | None = None

    def record() -> None:
        if since is not None:
            history.fault("lag", since, seconds=round(time.time() - since, 3))

    try:
        while True:
            await asyncio.sleep(_WAIT_INTERVAL)
            now = {process.pid: waited(process) for process in cluster.processes}
            starved = any(seconds - last.get(pid, seconds) >= _STARVED * _WAIT_INTERVAL for pid, seconds in now.items())
            last = now
            if starved and since is None:
                since = time.time() - _WAIT_INTERVAL
            elif not starved:
                record()
                since = None
    finally:
        record()
