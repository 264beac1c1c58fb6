"""A job's events, in a blocking program."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from typing import Self

import httpx2

from readalong.client.calls import Calls
from readalong.client.errors import ClientError, MisuseError
from readalong.client.events import End, Event, TerminalEvent
from readalong.client.progress import Progress, ProgressMeter
from readalong.client.reader import Reader
from readalong.client.transcript import Transcript
from readalong.client.transport import BROKEN, connection_error, shut_down
from readalong.client.watch_protocol import WatchProtocol


class Watch:
    """Iterates the events after a position up to the job's end, over as many connections as it takes.

    Leaving the loop closes the connection and leaves the job alone. A loop after that goes on at `position`.
    """

    def __init__(self, calls: Calls, protocol: WatchProtocol) -> None:
        self.transcript = Transcript()
        self._calls = calls
        self._protocol = protocol
        self._meter = ProgressMeter()
        self._closed = threading.Event()
        self._response: httpx2.Response | None = None
        self._reader: weakref.ref[Reader[Event]] | None = None

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

    def __iter__(self) -> Reader[Event]:
        if self._closed.is_set():
            raise MisuseError("This watch is closed.")
        self._calls.check_open()
        reader = None if self._reader is None else self._reader()
        if reader is not None and not reader.ended:
            raise MisuseError("This watch is being read already; make another one beside it.")
        reader = Reader(self._events(), "watch")
        self._reader = weakref.ref(reader)
        return reader

    def close(self) -> None:
        """Closes the connection; a loop in another thread ends."""
        self.interrupt()
        reader = None if self._reader is None else self._reader()
        if reader is not None:
            reader.close()

    def interrupt(self) -> None:
        """Makes the loop end soon, from any thread."""
        self._closed.set()
        response = self._response
        if response is not None:
            shut_down(response)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _events(self) -> Generator[Event, None, None]:
        while self.end is None and not self._closed.is_set():
            protocol = self._protocol
            url = protocol.url
            try:
                with self._connection() as response:
                    body = b"" if response.status_code == 200 else response.read()
                    if not protocol.open(response.status_code, response.headers, body) or self._closed.is_set():
                        return
                    for data in response.iter_bytes():
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
                self._closed.wait(protocol.failed(trouble))

    @contextmanager
    def _connection(self) -> Generator[httpx2.Response, None, None]:
        options, http = self._calls.options, self._calls.http
        arguments = options.arguments(self._protocol.url, self._protocol.request(), stream=True)
        with http.stream(**arguments) as response:
            self._response = response
            try:
                yield response
            finally:
                self._response = None
