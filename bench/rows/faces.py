"""What OpenAI's protocol adds: submit to first token beside the native protocol, and the openai package as a client of
the whole stack beside the same client straight at the model."""

from __future__ import annotations

import random
from typing import Any, Final

from openai import AsyncOpenAI

from bench.harness.quantiles import summary
from bench.harness.stack import Stack
from bench.load.sdk import SdkStream
from bench.load.wire import Caller, Stream, all_of, question
from bench.plan import Plan
from bench.rows.starts import Times, pause, some
from bench.rows.streams import Flow, Load, run

_WITHIN: Final = 20.0
_COMPLETIONS: Final = "/v1/chat/completions"


class Faces:
    """The times of both measurements, added up over the rounds."""

    def __init__(self) -> None:
        self._native = Times()
        #: Milliseconds from the POST's first byte sent to the first token read, less the model's own.
        self._chat: list[float] = []
        self._through = Flow()
        self._straight = Flow()

    async def warm_up(self, stack: Stack, plan: Plan) -> None:
        """Runs some jobs of both before the first that counts."""
        for _ in range(plan.warm_up_jobs):
            await _completion(stack)
        async with _client(stack, "api") as client:
            await all_of([SdkStream(client, 10, 1000).closed], _WITHIN, "ended")

    async def measure(self, stack: Stack, plan: Plan) -> None:
        """Runs one round. Each pair is in an order drawn by lot."""
        caller = await Caller.open(stack.ports["api"])
        for _ in range(plan.jobs):
            for chat in random.sample((True, False), 2):
                if chat:
                    await pause()
                    self._chat.append(await _completion(stack))
                else:
                    await some(self._native, stack, caller, 1)
        await caller.close()
        load = Load(plan.sdk_streams, plan.stream_rate, plan.stream_seconds, plan.settle)
        for straight in random.sample((True, False), 2):
            with stack.stopped("direct", *(("worker", "api") if straight else ())):
                if straight:
                    await _run_sdk(self._straight, stack, "clock_model", (), load)
                else:
                    await _run_sdk(self._through, stack, "api", ("worker", "api", "valkey"), load)

    def found(self, plan: Plan) -> dict[str, Any]:
        return {
            "first_token": {"native": summary(self._native.first_token), "chat": summary(self._chat)},
            "sdk": {
                "streams": plan.sdk_streams,
                "readalong": self._through.found(),
                "straight": self._straight.found(),
            },
        }


async def _completion(stack: Stack) -> float:
    body = question(1, 1000) | {"stream": True}
    stream = await Stream.open(stack.ports["api"], "POST", _COMPLETIONS, body)
    await all_of([stream.closed], _WITHIN, "ended")
    token = stream.tokens()[0]
    return (token.came - stream.sent - (token.sent - stream.asked())) / 1e6


async def _run_sdk(flow: Flow, stack: Stack, role: str, names: tuple[str, ...], load: Load) -> None:
    async with _client(stack, role) as client:

        async def streams(_: Stack, count: int, tokens: int, rate: float) -> list[SdkStream]:
            return [SdkStream(client, tokens, rate) for _ in range(count)]

        await run(flow, stack, streams, names, load)


def _client(stack: Stack, role: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"http://127.0.0.1:{stack.ports[role]}/v1", api_key="bench", max_retries=0)
