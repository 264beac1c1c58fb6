"""The openai package as a client: its streams of the clock model, with the time of each token."""

from __future__ import annotations

import asyncio
import time

from openai import AsyncOpenAI

from bench.harness.errors import BenchError
from bench.load.clock_model import TOKEN
from bench.load.wire import Token, question


class SdkStream:
    """One streamed chat completion, read to its end. A failure is raised by `tokens`."""

    def __init__(self, client: AsyncOpenAI, tokens: int, per_second: float) -> None:
        loop = asyncio.get_running_loop()
        #: Set at the first token, and at the end.
        self.begun: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._pieces: list[tuple[int, str]] = []
        self._reading = loop.create_task(self._read(client, tokens, per_second))
        self._reading.add_done_callback(self._close)

    def tokens(self) -> list[Token]:
        """Returns all tokens, in order. Raises BenchError if the stream broke."""
        if error := self._reading.exception():
            raise BenchError(f"a stream of the openai package broke: {error!r}")
        # A chunk has several tokens where the model's came together.
        return [Token(int(found[1]), came) for came, text in self._pieces for found in TOKEN.finditer(text.encode())]

    async def _read(self, client: AsyncOpenAI, tokens: int, per_second: float) -> None:
        asked = question(tokens, per_second)
        stream = await client.chat.completions.create(
            model=asked["model"], messages=asked["messages"], stream=True, extra_body={"bench": asked["bench"]}
        )
        async for chunk in stream:
            came = time.monotonic_ns()
            if chunk.choices and (text := chunk.choices[0].delta.content):
                self._pieces.append((came, text))
                if not self.begun.done() and "@" in text:
                    self.begun.set_result(None)

    def _close(self, _: asyncio.Task[None]) -> None:
        if not self.begun.done():
            self.begun.set_result(None)
        self.closed.set_result(None)
