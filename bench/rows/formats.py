"""Many watchers of one job in each wire format: what a delivery costs in CPU time."""

from __future__ import annotations

import asyncio
import random
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from bench.contenders.contender import Running
from bench.harness.errors import BenchError
from bench.harness.jobs import Jobs, Written
from bench.harness.stack import Stack, answers
from bench.load.crowd import Crowd, get, post
from bench.load.stamps import stamped
from bench.plan import Plan
from bench.rows.fanout import Pace, paced

#: Events a second and seconds before those that count.
_WARM: Final = (20, 0.5)
_ASKED: Final = "What time is it?"
_MESSAGES: Final = [{"role": "user", "content": _ASKED}]
_RUN_MESSAGES: Final = [{"id": "m1", "role": "user", "content": _ASKED}]
_UI_MESSAGES: Final = [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": _ASKED}]}]

#: The call that submits and streams in one, and its body. Its clients are those with most work: some of them must not
#: get all that their format has (`Cut`).
_CALLS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "chat_stream": ("/chat/stream", {"model": "clock", "messages": _MESSAGES}),
    "OpenAI chat": ("/v1/chat/completions", {"model": "clock", "messages": _MESSAGES, "stream": True}),
    "Responses": ("/v1/responses", {"model": "clock", "input": _ASKED, "stream": True}),
    "AI SDK": ("/api/chat", {"id": "bench", "messages": _UI_MESSAGES}),
    "AG-UI": ("/agui", {"threadId": "run", "runId": "bench", "messages": _RUN_MESSAGES}),
}
NATIVE: Final = "native"


@dataclass
class Channel:
    """A running job and its watchers."""

    job: Written
    crowd: Crowd
    deliveries: int = 0
    #: Seconds of the API's CPU time.
    cpu: float = 0.0


async def measure(stack: Stack, plan: Plan) -> dict[str, Any]:
    """Returns microseconds of the API a delivery, by format. One API has a job with all watchers for each of them. They
    are measured in short turns, in an order drawn by lot, so that noise hits all alike."""
    watchers = plan.watchers[0]
    async with AsyncExitStack() as resources:
        port = resources.enter_context(stack.child("api"))
        stack.wait("api", lambda at: answers(at, "/healthz"))
        jobs = await resources.enter_async_context(Jobs.on(stack.redis.url))
        channels = {NATIVE: Channel(await jobs.running(), await resources.enter_async_context(_crowd(stack, NATIVE)))}
        native = channels[NATIVE]
        await native.crowd.open(port, [get(native.job.path, native.job.last_seq)] * watchers)
        for name, (path, body) in _CALLS.items():
            crowd = await resources.enter_async_context(_crowd(stack, name))
            request = post(path, body, f"bench-{path}")
            opening = asyncio.create_task(crowd.open(port, [request], [1]))
            channels[name] = Channel(await jobs.taken(), crowd)
            await channels[name].job.append([stamped()])  # the head of OpenAI's chat waits for it
            await opening
            await crowd.open(port, [request] * (watchers - 1), [1] * (watchers - 1))
        for channel in channels.values():
            await _turn(channel, stack, Pace(watchers, *_WARM))
            channel.deliveries, channel.cpu = 0, 0.0
        pace = Pace(watchers, plan.watch_rate, plan.format_seconds)
        for _ in range(plan.format_turns):
            for channel in random.sample([*channels.values()], len(channels)):
                await _turn(channel, stack, pace)
        for channel in channels.values():
            await channel.crowd.close()
            await channel.job.finish()
    return {
        "watchers": watchers,
        "cpu_us": {name: channel.cpu / channel.deliveries * 1e6 for name, channel in channels.items()},
    }


def _crowd(stack: Stack, name: str) -> AbstractAsyncContextManager[Crowd]:
    return Crowd.start(stack, f"readers of {name}")


async def _turn(channel: Channel, stack: Stack, pace: Pace) -> None:
    """Raises BenchError if an event has not come to all."""
    pids = {"server": stack.pids["api"]}
    running = Running(stack.ports["api"], str, pids, channel.job.append, 1)
    found = await paced(running, pids, channel.crowd, pace)
    if found["lost"]:
        raise BenchError(f"readalong lost {found['lost']} of {found['deliveries']} deliveries")
    channel.deliveries += found["deliveries"]
    channel.cpu += found["cpu_us"]["server"] * found["deliveries"] / 1e6
