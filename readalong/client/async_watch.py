"""A job's events, in an event loop."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

import httpx2

from readalong.client.async_calls import AsyncCalls, wait
from readalong.client.errors import ClientError, MisuseError
from readalong.client.events import End, Event, TerminalEvent
from readalong.client.progress import Progress, ProgressMeter
from readalong.client.reader import AsyncReader
from readalong.client.transcript import Transcript
from readalong.client.transport import BROKEN, connection_error, sending
from readalong.client.watch_protocol import WatchProtocol


class AsyncWatch:
    """Iterates the events after a position up to the job's end, over as many connections as it takes.

    Leaving the loop closes the connection and leaves the job alone. A loop after that goes on at `position`.
    """

    def __init__(self, calls: AsyncCalls, protocol: WatchProtocol) -> None:
        self.transcript = Transcript()
        self._calls = calls
        self._protocol = protocol
        self._meter = ProgressMeter()
        self._closed = asyncio.Event()
        self._response: httpx2.Response | None = None
        self._reader: weakref.ref[AsyncReader[Event]] | None = None

    @property
    def position(self) -> str:
        """The position of the last event, to resume from; empty at the start."""
        return str(self._protocol.position) if self._protocol.position.seq else ""

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
        return self._meter.progress

    def __aiter__(self) -> AsyncReader[Event]:
        if self._closed.is_set():
            raise MisuseError("This watch is closed.")
        self._calls.check_open()
        reader = None if self._reader is None else self._reader()
        if reader is not None and not reader.ended:
            raise MisuseError("This watch is being read already; make another one beside it.")
        reader = AsyncReader(self._events(), "watch")
        self._reader = weakref.ref(reader)
        return reader

    async def aclose(self) -> None:
        """Closes the connection; a loop in another task ends."""
        await self.interrupt()
        reader = None if self._reader is None else self._reader()
        if reader is not None:
            await reader.aclose()

    async def interrupt(self) -> None:
        """Makes the loop end soon, from any task."""
        self._closed.set()
        response = self._response
        if response is not None:
            await response.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _events(self) -> AsyncGenerator[Event, None]:
        while self.end is None and not self._closed.is_set():
            protocol = self._protocol
            url = protocol.url
            try:
                async with self._connection() as response:
                    body = b"" if response.status_code == 200 else await response.aread()
                    if not protocol.open(response.status_code, response.headers, body) or self._closed.is_set():
                        return
                    async for data in response.aiter_bytes():
                        for event in protocol.feed(data):
                            self.transcript.add(event)
                            self._meter.add(event)
                            yield event
                            if isinstance(event, TerminalEvent):
                                return
                trouble: ClientError = protocol.ended()
            except BROKEN as broken:
                trouble = connection_error(url, broken)
            except ClientError as error:
                trouble = error
            if not self._closed.is_set():
                await wait(self._closed, protocol.failed(trouble))

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[httpx2.Response, None]:
        options, http = self._calls.options, self._calls.http
        arguments = options.arguments(self._protocol.url, self._protocol.request(), stream=True)
        async with AsyncExitStack() as stack:
            with sending():
                response = await stack.enter_async_context(http.stream(**arguments))
            self._response = response
            try:
                yield response
            finally:
                self._response = None
