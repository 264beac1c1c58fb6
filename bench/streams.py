"""What a token costs on its way from the model to those who watch, in delay and in CPU time."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from bench.cpu import CpuMeter
from bench.plan import Plan
from bench.stack import BenchError, Stack
from bench.wire import Caller, Stream, Token, all_of, question

_WITHIN: Final = 30.0
#: Seconds of tokens beyond the measurement, and those that opening a stream may take: all must run while it lasts.
_SPARE: Final = 1.5
_OPENING: Final = 0.01

#: Opens so many streams, each of so many tokens at such a pace.
Open = Callable[[Stack, int, int, float], Awaitable[list[Stream]]]


class Load(NamedTuple):
    """Streams at once, tokens a second of each, and seconds of the measurement after those to settle."""

    streams: int
    rate: float
    seconds: float
    settle: float


@dataclass
class Flow:
    """What the measurements of one kind saw, added up over the rounds."""

    delays: list[float] = field(default_factory=list)
    """Milliseconds from the model's write to the client's read, one for each token and watcher."""
    cpu: dict[str, float] = field(default_factory=dict)
    """Seconds of CPU time by process; `client` is the load generator itself."""
    tokens: int = 0
    """Tokens that the model sent in the measured time."""

    def add(self, streams: list[list[Token]], cpu: dict[str, float], tokens: int, start: int, end: int) -> None:
        """Takes in all tokens that came from `start` to `end`, in nanoseconds."""
        for stream in streams:
            self.delays += [(token.came - token.sent) / 1e6 for token in stream if start <= token.came < end]
        for name, seconds in cpu.items():
            self.cpu[name] = self.cpu.get(name, 0.0) + seconds
        self.tokens += tokens


class Streams:
    """Both ways in turn, for each number of streams at once."""

    def __init__(self, plan: Plan) -> None:
        self.readalong = {streams: Flow() for streams in plan.streams}
        self.direct = {streams: Flow() for streams in plan.streams}

    async def measure(self, stack: Stack, plan: Plan) -> None:
        """One round. Which way goes first is left to chance."""
        for streams in plan.streams:
            ways = [
                (self.readalong[streams], _watched_jobs, ("worker", "api", "valkey")),
                (self.direct[streams], _direct, ("direct",)),
            ]
            load = Load(streams, plan.stream_rate, plan.stream_seconds, plan.settle)
            for flow, open_streams, names in random.sample(ways, len(ways)):
                await run(flow, stack, open_streams, names, load)


class Fanout:
    """Many watchers of one job."""

    def __init__(self) -> None:
        self.readalong = Flow()

    async def measure(self, stack: Stack, plan: Plan) -> None:
        """One round."""
        load = Load(plan.watchers, plan.watch_rate, plan.watch_seconds, plan.settle)
        await run(self.readalong, stack, _one_job, ("worker", "api", "valkey"), load)


async def run(flow: Flow, stack: Stack, open_streams: Open, names: tuple[str, ...], load: Load) -> None:
    """Opens the streams, lets them settle, measures, and reads them to their end.

    Raises BenchError if a stream lacks a token or has one twice.
    """
    tokens = int(load.rate * (load.seconds + load.settle + _SPARE + load.streams * _OPENING))
    streams = await open_streams(stack, load.streams, tokens, load.rate)
    await all_of([stream.begun for stream in streams], _WITHIN, "begun")
    await asyncio.sleep(load.settle)
    meter = CpuMeter({"client": os.getpid()} | {name: stack.pids[name] for name in names})
    meter.start()
    start = time.monotonic_ns()
    await asyncio.sleep(load.seconds)
    cpu = meter.stop()
    end = time.monotonic_ns()
    if any(stream.closed.done() for stream in streams):
        raise BenchError("a stream ended before the measurement did")
    await all_of([stream.closed for stream in streams], _WITHIN + tokens / load.rate, "ended")
    seen = [stream.tokens() for stream in streams]
    for one in seen:
        if len(one) != tokens or len({token.sent for token in one}) != tokens:
            raise BenchError(f"a stream of {tokens} tokens came as {len(one)}")
    sent = {token.sent for one in seen for token in one if start <= token.came < end}
    flow.add(seen, cpu, len(sent), start, end)


async def _watched_jobs(stack: Stack, count: int, tokens: int, rate: float) -> list[Stream]:
    """As many jobs, each with one watcher."""
    caller = await Caller.open(stack.ports["api"])
    streams = []
    for _ in range(count):
        job = (await caller.call("POST", "/v1/jobs", question(tokens, rate))).body
        streams.append(await Stream.open(stack.ports["api"], "GET", job["links"]["events"]))
    await caller.close()
    return streams


async def _one_job(stack: Stack, count: int, tokens: int, rate: float) -> list[Stream]:
    """One job with as many watchers."""
    caller = await Caller.open(stack.ports["api"])
    job = (await caller.call("POST", "/v1/jobs", question(tokens, rate))).body
    await caller.close()
    return [await Stream.open(stack.ports["api"], "GET", job["links"]["events"]) for _ in range(count)]


async def _direct(stack: Stack, count: int, tokens: int, rate: float) -> list[Stream]:
    body = question(tokens, rate)
    return [await Stream.open(stack.ports["direct"], "POST", "/chat/stream", body) for _ in range(count)]
