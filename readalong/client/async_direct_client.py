"""Streams straight from a model, without a server, in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Self

from readalong.client.async_stream import AsyncStream
from readalong.client.chunk_events import ChunkEvents
from readalong.client.errors import MisuseError
from readalong.client.events import Event
from readalong.client.openai_extra import CUT, arguments, end, is_azure, require_openai
from readalong.client.requests import Messages
from readalong.client.text_reader import OnRestart

if TYPE_CHECKING:
    import openai


class AsyncDirectClient:
    """OpenAI, Azure or any compatible server, by the openai package: the same streams and events, and no queue.

    `client`: one of the openai package; else the environment's: OPENAI_BASE_URL and OPENAI_API_KEY, or Azure's
    variables. Raises ImportError without the package.
    """

    def __init__(self, client: openai.AsyncOpenAI | None = None) -> None:
        require_openai()
        import openai  # noqa: PLC0415

        self._closed = False
        self._owns_client = client is None
        self._client = client or (openai.AsyncAzureOpenAI() if is_azure() else openai.AsyncOpenAI())

    def stream_chat(
        self, messages: Messages, *, model: str | None = None, on_restart: OnRestart | None = None, **parameters: Any
    ) -> AsyncStream:
        """Returns the stream of a generation. `model`: else READALONG_MODEL. `parameters`: OpenAI's. It never
        restarts."""
        if self._closed:
            raise MisuseError("This client is closed.")
        return AsyncStream(AsyncDirectGeneration(self._client, arguments(messages, model, parameters)), on_restart)

    async def aclose(self) -> None:
        """Closes the connections, unless the openai client is yours."""
        self._closed = True
        if self._owns_client:
            await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class AsyncDirectGeneration:
    """One call of the model."""

    job_id = None

    def __init__(self, client: openai.AsyncOpenAI, arguments: dict[str, Any]) -> None:
        self._client = client
        self._arguments = arguments
        self._call: asyncio.Task[Any] | None = None
        self._stream: openai.AsyncStream[Any] | None = None
        self._cancelled = asyncio.Event()
        self._interrupted = asyncio.Event()

    async def events(self) -> AsyncGenerator[Event, None]:
        import openai  # noqa: PLC0415

        events = ChunkEvents(self._arguments["model"])
        for event in events.begin():
            yield event
        trouble: Exception | None = None
        try:
            async with await self._open() as self._stream:
                async for chunk in self._stream:
                    for event in events.read(chunk.to_dict()):
                        yield event
                    if self._interrupted.is_set():
                        break
        except (openai.OpenAIError, *CUT) as error:
            trouble = error
        except asyncio.CancelledError:
            if not self._interrupted.is_set() or self._stream is not None:
                raise
        if self._cancelled.is_set():
            yield events.cancelled()
        elif not self._interrupted.is_set():
            for event in end(events, trouble, begun=self._stream is not None):
                yield event

    async def cancel(self) -> None:
        self._cancelled.set()
        await self.interrupt()

    async def interrupt(self) -> None:
        self._interrupted.set()
        if self._stream is not None:
            await self._stream.response.aclose()
        elif self._call is not None:
            self._call.cancel()

    async def _open(self) -> openai.AsyncStream[Any]:
        """Returns the stream. Raises CancelledError when it was given up meanwhile."""
        call: asyncio.Task[openai.AsyncStream[Any]]
        self._call = call = asyncio.ensure_future(self._client.chat.completions.create(**self._arguments))
        if self._interrupted.is_set():
            call.cancel()
        stream = await call
        if self._interrupted.is_set():  # just when it came
            await stream.close()
            raise asyncio.CancelledError
        return stream
