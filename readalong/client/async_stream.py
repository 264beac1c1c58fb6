"""A generation and its text, in an event loop."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Self

from readalong.client import requests
from readalong.client.async_calls import AsyncCalls
from readalong.client.async_watch import AsyncWatch
from readalong.client.errors import MisuseError
from readalong.client.events import Cancelled, End, Event, TerminalEvent
from readalong.client.generation import AsyncGeneration
from readalong.client.progress import Progress, ProgressMeter
from readalong.client.reader import AsyncReader
from readalong.client.requests import Request
from readalong.client.text_reader import OnRestart, TextReader
from readalong.client.transcript import Transcript
from readalong.client.watch_protocol import OnTrouble, WatchProtocol


class AsyncStream:
    """Iterates the text of one generation, or with `events()` its events.

    The generation begins with the loop. A loop that is left before the end cancels it: by `break`, an exception, the
    cancel of its task, or the end of an `async with` block.
    """

    def __init__(self, generation: AsyncGeneration, on_restart: OnRestart | None = None) -> None:
        self.transcript = Transcript()
        self._generation = generation
        self._on_restart = on_restart
        self._meter = ProgressMeter()
        self._closed = False
        self._begun = False
        #: Not set while a loop has not left yet; the event loop closes a dropped one a moment later.
        self._left = asyncio.Event()
        self._left.set()
        self._reader: weakref.ref[AsyncReader[Any]] | None = None

    @property
    def job_id(self) -> str | None:
        """The id by which others watch this generation, once it is submitted."""
        return self._generation.job_id

    @property
    def text(self) -> str:
        """The valid text so far."""
        return self.transcript.text

    @property
    def end(self) -> End | None:
        """The terminal event, once it has come."""
        return self.transcript.end

    @property
    def progress(self) -> Progress:
        """Time to first token, total time, count and rate, at any time and from any task."""
        return self._meter.progress

    def __aiter__(self) -> AsyncIterator[str]:
        return self._read(self._text())

    def events(self) -> AsyncIterator[Event]:
        """Iterates the events instead of the text. A failed job is an event here, and no error."""
        return self._read(self._events())

    async def cancel(self) -> None:
        """Asks for the end, from any task. The loop goes on to its end, when the connection to the model is closed.

        Raises ClientError if the cancel could not be delivered.
        """
        if self.end is None:
            await self._generation.cancel()

    async def aclose(self) -> None:
        """Ends the loop, and the generation with it."""
        self._closed = True
        await self._generation.interrupt()
        reader = None if self._reader is None else self._reader()
        if reader is not None:
            await reader.aclose()
        await self._left.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _read(self, items: AsyncGenerator[Any, None]) -> AsyncReader[Any]:
        if self._closed:
            raise MisuseError("This stream is closed.")
        if self._begun:
            raise MisuseError("A stream is read once; its text is in `text`, and a watch of its job reads all again.")
        self._begun = True
        reader = AsyncReader(items, "stream")
        self._reader = weakref.ref(reader)
        return reader

    async def _text(self) -> AsyncGenerator[str, None]:
        text = TextReader(self._on_restart)
        async with aclosing(self._events()) as events:
            async for event in events:
                if said := text.read(event):
                    yield said

    async def _events(self) -> AsyncGenerator[Event, None]:
        self._left.clear()
        self._meter.start()
        try:
            async with aclosing(self._generation.events()) as events:
                async for event in events:
                    self.transcript.add(event)
                    self._meter.add(event)
                    yield event
        finally:
            self._left.set()


class AsyncApiGeneration:
    """A job of an API: one submit, one watch. `keep_running`: it is not cancelled when its reader leaves."""

    def __init__(self, calls: AsyncCalls, submit: Request, *, keep_running: bool, on_trouble: OnTrouble | None) -> None:
        self.job_id: str | None = None
        self._calls = calls
        self._submit = submit
        self._keep_running = keep_running
        self._on_trouble = on_trouble
        self._watch: AsyncWatch | None = None
        self._cancelled = asyncio.Event()
        self._interrupted = asyncio.Event()

    async def events(self) -> AsyncGenerator[Event, None]:
        if self._cancelled.is_set():  # before it was submitted
            yield Cancelled(by="client")
            return
        job_id = self.job_id = (await self._calls.job(self._submit)).id
        ended = False
        try:
            if self._cancelled.is_set():  # while it was being submitted
                await self.cancel()
            protocol = WatchProtocol(self._calls.replicas, job_id, on_trouble=self._on_trouble)
            self._watch = AsyncWatch(self._calls, protocol)
            if self._interrupted.is_set():
                return
            async with aclosing(aiter(self._watch)) as events:
                async for event in events:
                    ended = isinstance(event, TerminalEvent)
                    yield event
        finally:
            if not ended and not self._keep_running:
                await self._calls.stop(job_id)

    async def cancel(self) -> None:
        self._cancelled.set()
        if self.job_id is not None:
            await self._calls.job(requests.cancel(self.job_id))

    async def interrupt(self) -> None:
        self._interrupted.set()
        if self._watch is not None:
            await self._watch.interrupt()
