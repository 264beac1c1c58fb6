"""Many watchers of one channel: the cost and the delay of a delivery, and the memory of an idle watcher."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any, Final, NamedTuple

from bench.contenders.contender import Contender, Running
from bench.harness.cpu import CpuMeter
from bench.harness.errors import BenchError
from bench.harness.memory import memory_kb
from bench.harness.monitor import Monitor
from bench.harness.quantiles import curve, summary
from bench.harness.stack import Stack
from bench.load.crowd import Crowd
from bench.load.stamps import stamped
from bench.plan import Plan

_WITHIN: Final = 30.0
_FLOOD_WITHIN: Final = 90.0
_WARM: Final = 20
_WARM_EVENTS: Final = 100
#: Seconds in which connections come to rest.
_SETTLE: Final = 0.3
#: Events of the measurement that counts commands.
_COUNTED: Final = 10


class Pace(NamedTuple):
    """Watchers, events a second, seconds."""

    watchers: int
    rate: float
    seconds: float


async def visit(contender: Contender, stack: Stack, crowd: Crowd, plan: Plan, flood: int) -> dict[str, Any]:
    """Measures one contender, which runs alone and only for this time."""
    most, *fewer = plan.watchers
    async with contender.start(stack) as running:
        pids = _pids(running, stack)
        await _warm_up(running, crowd)
        found: dict[str, Any] = {"idle": await _idle(running, stack, crowd, most)}
        found["paced"] = {str(most): await paced(running, pids, crowd, Pace(most, plan.watch_rate, plan.watch_seconds))}
        found["flood"] = await _flood(running, pids, crowd, most, flood)
        found["commands_per_event"] = await _commands(running, stack, crowd)
        for watchers in fewer:
            await crowd.close(keep=watchers)
            await asyncio.sleep(_SETTLE)
            pace = Pace(watchers, plan.watch_rate, plan.fewer_seconds)
            found["paced"][str(watchers)] = await paced(running, pids, crowd, pace)
        await crowd.close()
    for what in (*found["paced"].values(), found["flood"]):
        if contender.name == "readalong" and what["lost"]:
            raise BenchError(f"readalong lost {what['lost']} of {what['deliveries']} deliveries")
    return found


async def alone(contender: Contender, stack: Stack, crowd: Crowd, plan: Plan) -> dict[str, Any]:
    """Measures the deliveries at the plan's pace only."""
    most = plan.watchers[0]
    async with contender.start(stack) as running:
        await _warm_up(running, crowd)
        await crowd.open(running.port, [running.request()] * most)
        await asyncio.sleep(_SETTLE)
        pace = Pace(most, plan.watch_rate, plan.watch_seconds)
        found = await paced(running, _pids(running, stack), crowd, pace)
        await crowd.close()
    return found


async def paced(running: Running, pids: dict[str, int], crowd: Crowd, pace: Pace) -> dict[str, Any]:
    """Publishes events at a steady pace, each counted at each watcher."""
    events = max(1, round(pace.rate * pace.seconds))
    await crowd.expect(events)
    meter = CpuMeter(pids)
    meter.start()
    start = due = time.monotonic()
    for _ in range(events):
        await asyncio.sleep(due - time.monotonic())
        await running.publish([stamped()])
        # As uneven as a model, and right on average: an even pace meets every timer at the same point.
        due += random.uniform(0.7, 1.3) / pace.rate
    arrival = await crowd.wait(_WITHIN)
    cpu = meter.stop()
    wall = time.monotonic() - start
    delays = await crowd.delays()
    deliveries = events * pace.watchers
    return {
        "events": events,
        "deliveries": deliveries,
        "lost": arrival.lost,
        "wall_seconds": wall,
        "per_second": deliveries / wall,
        "cpu_us": {name: spent / deliveries * 1e6 for name, spent in cpu.items()},
        "busy": {name: spent / wall for name, spent in cpu.items()},
        "delay_ms": summary(delays),
        "delay_curve": curve(delays),
    }


async def _flood(running: Running, pids: dict[str, int], crowd: Crowd, watchers: int, events: int) -> dict[str, Any]:
    """Publishes this many events at full speed, each counted at each watcher."""
    await crowd.expect(events)
    meter = CpuMeter(pids)
    meter.start()
    start = time.monotonic()
    for at in range(0, events, running.batch):
        await running.publish([stamped() for _ in range(min(running.batch, events - at))])
    published = time.monotonic() - start
    arrival = await crowd.wait(_FLOOD_WITHIN)
    cpu = meter.stop()
    deliveries = events * watchers
    return {
        "events": events,
        "deliveries": deliveries,
        "lost": arrival.lost,
        "published_seconds": published,
        "wall_seconds": arrival.seconds,
        "per_second": (deliveries - arrival.lost) / arrival.seconds,
        "cpu_us": {name: spent / deliveries * 1e6 for name, spent in cpu.items()},
    }


async def _idle(running: Running, stack: Stack, crowd: Crowd, watchers: int) -> dict[str, Any]:
    """Measures memory and Redis connections before and with this many watchers, and the commands of their connects."""
    pid = running.pids["server"]
    before, connections = memory_kb(pid), _connections(stack)
    with Monitor(stack.redis.port) as monitor:
        opened = await crowd.open(running.port, [running.request()] * watchers)
        await asyncio.sleep(_SETTLE)
    after = memory_kb(pid)
    return {
        "watchers": watchers,
        "open_seconds": opened.seconds,
        "before_kb": before,
        "with_kb": after,
        "kb_per_watcher": (after - before) / watchers,
        "redis_connections": _connections(stack) - connections,
        "redis_commands": dict(monitor.counts),
    }


async def _commands(running: Running, stack: Stack, crowd: Crowd) -> dict[str, float]:
    """Returns commands of clients by name, for each event that all watch; the publisher's own is among them."""
    await crowd.expect(_COUNTED)
    with Monitor(stack.redis.port) as monitor:
        for _ in range(_COUNTED):
            await running.publish([stamped()])
        await crowd.wait(_WITHIN)
    return {name: count / _COUNTED for name, count in monitor.counts.items()}


async def _warm_up(running: Running, crowd: Crowd) -> None:
    """Runs some watchers and events before those that count."""
    await crowd.open(running.port, [running.request()] * _WARM)
    await asyncio.sleep(_SETTLE)
    await crowd.expect(_WARM_EVENTS)
    for _ in range(_WARM_EVENTS):
        await running.publish([stamped()])
    await crowd.wait(_WITHIN)
    await crowd.close()
    await asyncio.sleep(_SETTLE)


def _pids(running: Running, stack: Stack) -> dict[str, int]:
    return running.pids | {"valkey": stack.pids["valkey"], "client": stack.pids["readers"]}


def _connections(stack: Stack) -> int:
    return int(stack.redis.command("INFO", "clients")["connected_clients"])
