"""The cost of a token on its way from the model to the watchers, in delay and in CPU time."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from bench.harness.cpu import CpuMeter
from bench.harness.errors import BenchError
from bench.harness.monitor import Monitor
from bench.harness.quantiles import curve, summary
from bench.harness.stack import Stack
from bench.load.wire import Caller, Stream, Token, all_of, question
from bench.plan import Plan

_WITHIN: Final = 30.0
#: Seconds of tokens beyond the measurement, in which all streams are opened: all must run during the measurement. The
#: second is for a slower machine.
_SPARES: Final = (2.0, 10.0)


class Opened(Protocol):
    """A stream as the measurement sees it."""

    #: Set at the first token, and at the end.
    begun: asyncio.Future[None]
    closed: asyncio.Future[None]

    def tokens(self) -> list[Token]:
        """Returns all tokens, in order. Raises BenchError if the stream broke."""
        ...


#: Opens this many streams, each of this many tokens at this pace.
Open = Callable[[Stack, int, int, float], Awaitable[Sequence[Opened]]]

#: Processes that are halted while another is measured.
_OURS: Final = ("worker", "api")
#: Tokens a second of a fast model, and seconds in which commands are counted.
_FAST: Final = 5000
_COUNTED_SECONDS: Final = 1.0


class Load(NamedTuple):
    """Concurrent streams, tokens a second of each, and seconds of the measurement after those to settle."""

    streams: int
    rate: float
    seconds: float
    settle: float


@dataclass
class Flow:
    """The results of one kind of measurement, added up over the rounds."""

    delays: list[float] = field(default_factory=list)
    """Milliseconds from the model's write to the client's read, one for each token and watcher."""
    cpu: dict[str, float] = field(default_factory=dict)
    """Seconds of CPU time by process; `client` is the load generator itself."""
    tokens: int = 0
    """Tokens that the model sent in the measured time."""
    seconds: float = 0.0

    def add(self, streams: list[list[Token]], cpu: dict[str, float], tokens: int, start: int, end: int) -> None:
        """Adds all tokens from `start` to `end`, in nanoseconds."""
        for stream in streams:
            self.delays += [(token.came - token.sent) / 1e6 for token in stream if start <= token.came < end]
        for name, seconds in cpu.items():
            self.cpu[name] = self.cpu.get(name, 0.0) + seconds
        self.tokens += tokens
        self.seconds += (end - start) / 1e9

    def found(self) -> dict[str, Any]:
        """`busy` is the share of a core; `cpu_us_total` is that of the servers, without the client's."""
        servers = sum(seconds for name, seconds in self.cpu.items() if name != "client")
        return {
            "delay_ms": summary(self.delays),
            "delay_curve": curve(self.delays),
            "tokens": self.tokens,
            "cpu_us": {name: seconds / self.tokens * 1e6 for name, seconds in self.cpu.items()},
            "cpu_us_total": servers / self.tokens * 1e6,
            "busy": {name: seconds / self.seconds for name, seconds in self.cpu.items()},
        }


class Streams:
    """Measures both ways in turn, for each number of streams."""

    def __init__(self, plan: Plan) -> None:
        self.readalong = {streams: Flow() for streams in plan.streams}
        self.direct = {streams: Flow() for streams in plan.streams}

    async def measure(self, stack: Stack, plan: Plan, counts: Sequence[int]) -> None:
        """Runs one round. The first way is random; the other is halted meanwhile."""
        for streams in counts:
            load = Load(streams, plan.stream_rate, plan.stream_seconds, plan.settle)
            ways = [(self.readalong[streams], False), (self.direct[streams], True)]
            for flow, direct in random.sample(ways, 2):
                if direct:
                    with stack.stopped(*_OURS):
                        await run(flow, stack, _direct, ("direct",), load)
                else:
                    await ours(flow, stack, load)

    def found(self) -> dict[str, Any]:
        return {
            str(streams): {"readalong": flow.found(), "direct": self.direct[streams].found()}
            for streams, flow in self.readalong.items()
        }


async def ours(flow: Flow, stack: Stack, load: Load) -> None:
    """readalong alone."""
    with stack.stopped("direct"):
        await run(flow, stack, watched_jobs, (*_OURS, "valkey"), load)


async def commands(stack: Stack, plan: Plan) -> dict[str, Any]:
    """Returns the commands of clients for each token, by name.

    `paced`: of the plan's running streams, with the idle traffic beside them. `fast`: of one whole job of a fast model,
    from its submit on.
    """
    count, rate = plan.streams[0], plan.stream_rate
    tokens = int(rate * (2 * plan.settle + _COUNTED_SECONDS + _SPARES[0]))
    streams = await watched_jobs(stack, count, tokens, rate)
    await all_of([stream.begun for stream in streams], _WITHIN, "begun")
    await asyncio.sleep(plan.settle)
    with Monitor(stack.redis.port) as monitor:
        start = time.monotonic_ns()
        await asyncio.sleep(_COUNTED_SECONDS)
        end = time.monotonic_ns()
    await all_of([stream.closed for stream in streams], _WITHIN, "ended")
    sent = sum(start <= token.sent < end for stream in streams for token in stream.tokens())
    paced = _per_token(monitor, sent)
    tokens = int(_FAST * _COUNTED_SECONDS)
    with Monitor(stack.redis.port) as monitor:
        streams = await watched_jobs(stack, 1, tokens, _FAST)
        await all_of([stream.closed for stream in streams], _WITHIN, "ended")
    return {"paced": paced, "fast": _per_token(monitor, tokens)}


def _per_token(monitor: Monitor, tokens: int) -> dict[str, Any]:
    return {
        "tokens": tokens,
        "per_token": monitor.counts.total() / tokens,
        "by_name": {name: count / tokens for name, count in monitor.counts.items()},
    }


async def run(flow: Flow, stack: Stack, open_streams: Open, names: tuple[str, ...], load: Load) -> None:
    """Opens the streams, lets them settle, measures, and reads them to their end.

    Raises BenchError if a stream lacks a token or has one twice.
    """
    for spare in _SPARES:
        tokens = int(load.rate * (load.seconds + load.settle + spare))
        streams = await open_streams(stack, load.streams, tokens, load.rate)
        await all_of([stream.begun for stream in streams], _WITHIN, "begun")
        await asyncio.sleep(load.settle)
        meter = CpuMeter({"client": os.getpid()} | {name: stack.pids[name] for name in names})
        meter.start()
        start = time.monotonic_ns()
        await asyncio.sleep(load.seconds)
        cpu = meter.stop()
        end = time.monotonic_ns()
        enough = not any(stream.closed.done() for stream in streams)
        await all_of([stream.closed for stream in streams], _WITHIN + tokens / load.rate, "ended")
        if enough:
            seen = [stream.tokens() for stream in streams]
            for one in seen:
                if len(one) != tokens or len({token.sent for token in one}) != tokens:
                    raise BenchError(f"a stream of {tokens} tokens came as {len(one)}")
            sent = {token.sent for one in seen for token in one if start <= token.came < end}
            flow.add(seen, cpu, len(sent), start, end)
            return
    raise BenchError("a stream ended before the measurement did")


async def watched_jobs(stack: Stack, count: int, tokens: int, rate: float) -> list[Stream]:
    """Opens this many jobs, each with one watcher."""
    caller = await Caller.open(stack.ports["api"])
    streams = []
    for _ in range(count):
        job = (await caller.call("POST", "/v1/jobs", question(tokens, rate))).body
        streams.append(await Stream.open(stack.ports["api"], "GET", job["links"]["events"]))
    await caller.close()
    return streams


async def _direct(stack: Stack, count: int, tokens: int, rate: float) -> list[Stream]:
    body = question(tokens, rate)
    return [await Stream.open(stack.ports["direct"], "POST", "/chat/stream", body) for _ in range(count)]
