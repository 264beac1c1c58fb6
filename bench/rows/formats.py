"""Many watchers of one job in each wire format: what a delivery costs in CPU time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
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

#: Seconds in which connections come to rest.
_SETTLE: Final = 0.3
_WARM: Final = Pace(20, 200, 0.5)
_ASKED: Final = "What time is it?"
_MESSAGES: Final = [{"role": "user", "content": _ASKED}]
_UI_MESSAGES: Final = [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": _ASKED}]}]

#: The call that submits and streams in one, and its body. Its clients are those with most work: some of them must not
#: get all that their format has (`Cut`).
_CALLS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "chat_stream": ("/chat/stream", {"model": "clock", "messages": _MESSAGES}),
    "OpenAI chat": ("/v1/chat/completions", {"model": "clock", "messages": _MESSAGES, "stream": True}),
    "Responses": ("/v1/responses", {"model": "clock", "input": _ASKED, "stream": True}),
    "AI SDK": ("/api/chat", {"id": "bench", "messages": _UI_MESSAGES}),
}
NATIVE: Final = "native"


@dataclass
class Channel:
    """A running job, whose watchers come by `request`. `said`: its texts so far."""

    job: Written
    request: str
    said: int = 0
    deliveries: int = 0
    #: Seconds of the API's CPU time.
    cpu: float = 0.0

    async def publish(self, texts: Sequence[bytes]) -> None:
        await self.job.append(texts)
        self.said += len(texts)


async def measure(stack: Stack, crowd: Crowd, plan: Plan) -> dict[str, Any]:
    """Returns microseconds of the API a delivery, by format. One API has a job for each of them. In each turn every
    format has all watchers once, in an order drawn by lot, so that noise hits all alike."""
    with stack.child("api") as port:
        stack.wait("api", lambda at: answers(at, "/healthz"))
        async with _channels(stack, crowd, port) as channels:
            for channel in channels.values():
                await _turn(channel, stack, crowd, _WARM)
                channel.deliveries, channel.cpu = 0, 0.0
            pace = Pace(plan.watchers[0], plan.watch_rate, plan.format_seconds)
            for _ in range(plan.format_turns):
                for channel in random.sample([*channels.values()], len(channels)):
                    await _turn(channel, stack, crowd, pace)
    return {
        "watchers": pace.watchers,
        "cpu_us": {name: channel.cpu / channel.deliveries * 1e6 for name, channel in channels.items()},
    }


@asynccontextmanager
async def _channels(stack: Stack, crowd: Crowd, port: int) -> AsyncIterator[dict[str, Channel]]:
    """Returns a running job of each format, made by the format's own call."""
    async with Jobs.on(stack.redis.url) as jobs:
        native = await jobs.running()
        channels = {NATIVE: Channel(native, get(native.path, 0))}
        for name, (path, body) in _CALLS.items():
            request = post(path, body, f"bench-{path}")
            opening = asyncio.create_task(crowd.open(port, [request], [1]))
            channel = Channel(await jobs.taken(), request)
            await channel.publish([stamped()])  # a head of OpenAI's chat waits for it
            await opening
            await crowd.close()
            channels[name] = channel
        yield channels
        for channel in channels.values():
            await channel.job.finish()


async def _turn(channel: Channel, stack: Stack, crowd: Crowd, pace: Pace) -> None:
    """Raises BenchError if an event has not come to all."""
    port, server = stack.ports["api"], {"server": stack.pids["api"]}
    await crowd.open(port, [channel.request] * pace.watchers, [channel.said] * pace.watchers)
    await asyncio.sleep(_SETTLE)
    found = await paced(Running(port, lambda: channel.request, server, channel.publish, 1), server, crowd, pace)
    await crowd.close()
    if found["lost"]:
        raise BenchError(f"readalong lost {found['lost']} of {found['deliveries']} deliveries to {channel.request!r}")
    channel.deliveries += found["deliveries"]
    channel.cpu += found["cpu_us"]["server"] * found["deliveries"] / 1e6
