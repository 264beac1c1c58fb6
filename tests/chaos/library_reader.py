"""A reader that is the Python client library. Its transport writes down each connection, its loop each event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import count
from random import Random
from typing import Final

import httpx2
import orjson

from readalong.client import ApiConnectionError, ApiError, AsyncClient, ClientError, ClientOptions, Event
from readalong.core.sse import Decoder
from readalong.core.states import TERMINAL
from tests.chaos.client_plan import Reading
from tests.chaos.history import History
from tests.chaos.reader import PAUSES, How

#: Chaos ends sooner: what the library gives up is a trouble.
_OPTIONS: Final = ClientOptions(give_up=86_400, longest_wait=1.5, response_timeout=8.0)
#: Events over which it may dawdle: a long answer must not take for ever.
_DAWDLES: Final = 60
_NUMBERS: Final = count(1)


class LibraryReader:
    """Watches one job as a program does that uses readalong.client."""

    def __init__(self, history: History, urls: Sequence[str], job_id: str, reading: Reading, rng: Random) -> None:
        self._history = history
        self._urls = list(urls)
        self._job_id = job_id
        self._reading = reading
        self._rng = rng
        self._name = f"l{next(_NUMBERS)}"
        self._drops = list(reading.drops)
        self._recorder = _Recorder(history, self._urls, self._name, job_id)
        self._seen = 0
        self._how: How | None = None

    async def run(self) -> None:
        """Reads to the end. A cancelled reader gave up, which the history records."""
        self._history.client("client", client=self._name, job=self._job_id, after=self._reading.after)
        first = self._rng.randrange(len(self._urls))
        urls = self._urls[first:] + self._urls[:first]
        position = str(self._reading.after or "")
        try:
            async with (
                httpx2.AsyncClient(transport=self._recorder) as http,
                AsyncClient(urls, options=_OPTIONS, http_client=http) as client,
            ):
                while self._how is None:
                    position = await self._watch(client, position)
        finally:
            self._history.client("client_end", client=self._name, how=self._how or "gave_up")

    async def _watch(self, client: AsyncClient, position: str) -> str:
        """Watches until the end, or until it drops the watch. Returns its position."""
        drop = self._drops.pop(0) if self._drops else None
        here = 0
        async with client.watch(self._job_id, after=position) as watch:
            try:
                async for event in watch:
                    if not event.position:
                        continue  # a notice, which the log does not have
                    self._saw(event)
                    here += 1
                    if self._how is not None or here == drop:
                        break
                    if self._reading.dawdle and self._seen < _DAWDLES:
                        await asyncio.sleep(self._reading.dawdle)
                else:
                    self._how = "204"
            except ApiConnectionError as error:
                # A client that has never reached a replica does not know that its URLs are right.
                if not error.refused:
                    raise
                await asyncio.sleep(self._rng.uniform(*PAUSES))
            except ClientError as error:
                self._failed(error)
            return watch.position

    def _saw(self, event: Event) -> None:
        kind = event.name if event.type == "other" else event.type
        number, _, epoch = event.position.partition("-")
        # As the API sent it: JSON that is written again may spell its numbers in another way.
        data = self._recorder.data[event.position]
        if orjson.loads(data) != event.fields:
            self._history.trouble(f"{self._name}: event {event.position} is {event.fields}, which was {data}")
        seen = {"id": int(number), "epoch": epoch, "type": kind, "data": data}
        self._history.client("event", watch=self._recorder.watch, **seen)
        self._seen += 1
        if event.type in TERMINAL:
            self._how, self._recorder.ended = "terminal", True
        elif self._reading.leaves is not None and self._seen >= self._reading.leaves:
            self._how = "left"

    def _failed(self, error: ClientError) -> None:
        if isinstance(error, ApiError) and error.status in (404, 410):  # erased, or the checker reports it
            self._how = "gone"
        else:
            self._history.trouble(f"{self._name}: {error!r} for a watcher of {self._job_id}")
            self._how = "gave_up"


class _Recorder(httpx2.AsyncBaseTransport):
    """Writes the beginning and the end of each connection of one reader to the history."""

    def __init__(self, history: History, urls: Sequence[str], name: str, job_id: str) -> None:
        self._history = history
        self._replicas = {httpx2.URL(url).netloc: replica for replica, url in enumerate(urls)}
        self._name = name
        self._job_id = job_id
        self._inner = httpx2.AsyncHTTPTransport()
        #: The newest connection.
        self.watch = ""
        #: What the events said, by position.
        self.data: dict[str, str] = {}
        #: Whether it has brought the terminal event.
        self.ended = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        watch = self.watch = f"lw{next(_NUMBERS)}"
        number, _, epoch = request.headers.get("last-event-id", "0").partition("-")
        opened = {
            "watch": watch,
            "client": self._name,
            "job": self._job_id,
            "after": int(number),
            "epoch": epoch,
            "replica": self._replicas[request.url.netloc],
        }
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException:
            self._history.client("open", **opened, status=None)
            self._history.client("close", watch=watch, how="refused")
            raise
        self._history.client("open", **opened, status=response.status_code)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        stream = _Body(self, watch, response.status_code, response.stream)
        return httpx2.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )

    async def aclose(self) -> None:
        await self._inner.aclose()

    def closed(self, watch: str, how: str) -> None:
        self._history.client("close", watch=watch, how="end" if self.ended else how)


class _Body(httpx2.AsyncByteStream):
    """The body of one response."""

    def __init__(self, recorder: _Recorder, watch: str, status: int, inner: httpx2.AsyncByteStream) -> None:
        self._recorder = recorder
        self._watch = watch
        self._inner = inner
        self._how = {200: "left", 204: "end"}.get(status, "refused")
        self._open = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        decoder = Decoder(max_line=2**26)
        try:
            async for piece in self._inner:
                self._recorder.data |= {message.id: message.data.decode() for message in decoder.feed(piece)}
                yield piece
        except httpx2.TransportError:
            self._how = "reset"
            raise
        if self._how == "left":
            self._how = "eof"

    async def aclose(self) -> None:
        await self._inner.aclose()
        if self._open:
            self._open = False
            self._recorder.closed(self._watch, self._how)
