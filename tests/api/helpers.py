"""A worker played by hand, a client without a socket, and the checks of its stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
from starlette.types import Message as AsgiMessage

from readalong.api.fanout.hub import Hub
from readalong.api.fanout.sse_response import SseResponse
from readalong.api.wire.format import Cut, Format
from readalong.api.wire.native import native
from readalong.core.errors import StoreUnavailable
from readalong.core.events import TEXT, NewEvent
from readalong.core.position import Position
from readalong.core.sse import Decoder, Message
from readalong.core.states import TERMINAL
from readalong.store.log import Claim, ClaimStatus, Log, encode
from tests.readalong.jobs import METRICS, WORKER, queued
from tests.support.waiting import WITHIN, until


def without_debug() -> None:
    """Turns off asyncio's debug mode, which takes several times as long as the code of a test with many watchers."""
    asyncio.get_running_loop().set_debug(False)


async def again(call: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
    """Calls until Redis replies."""
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                await call(*arguments)
            except StoreUnavailable:
                await asyncio.sleep(0.01)
            else:
                return


def said(first: int, last: int) -> str:
    """Returns the text of events `first` to `last` of a Player. Each number occurs once, so a missing one is found."""
    return "".join(f"{number} " for number in range(first, last + 1))


class Player:
    """Plays the worker of one job. Event n has the text "n ", so the joined text shows each event, its repeats and
    its order."""

    def __init__(self, log: Log, job_id: str) -> None:
        self.job_id = job_id
        self.last = 1
        self.attempt = 0
        self._log = log

    @classmethod
    async def start(cls, log: Log, job_id: str = "") -> Player:
        """Starts a job's first attempt; the log holds `queued` and `started`."""
        player = cls(log, job_id or await queued(log))
        await player.claim()
        return player

    async def claim(self, token: str = "first") -> Claim:
        claim = await self._log.claim(self.job_id, WORKER, token)
        assert claim.status == ClaimStatus.RUN
        self.attempt, self.last = claim.attempt, claim.last_seq
        return claim

    async def append(self, *drafts: NewEvent) -> None:
        done = await self._log.append(self.job_id, self.attempt, self.last + 1, encode(drafts))
        assert done.status == "ok"
        self.last = done.last_seq

    async def say(self, count: int = 1, pad: str = "") -> None:
        """Appends this many `content` events in one call."""
        first = self.last + 1
        await self.append(*(NewEvent("content", {"content": f"{n} {pad}"}) for n in range(first, first + count)))

    async def finish(self, kind: str = "done", **fields: Any) -> None:
        end = [NewEvent(kind, {"content": "", **fields})]
        stored = {name: orjson.dumps(fields[name]) for name in ("usage", "error") if fields.get(name)}
        done = await self._log.finish(
            self.job_id, self.attempt, self.last + 1, encode(end), {"metrics": METRICS, **stored}
        )
        self.last = done.last_seq


class Client:
    """A client without a socket. It reads at once, unless `reading` is cleared."""

    def __init__(self) -> None:
        self.seen: list[Message] = []
        self.raw = b""
        self.status = 0
        self.headers: dict[str, str] = {}
        #: Whether the server has sent the whole response.
        self.complete = False
        self.reading = asyncio.Event()
        self.reading.set()
        self._gone = asyncio.Event()
        self._decoder = Decoder()

    def leave(self) -> None:
        self._gone.set()

    async def receive(self) -> AsgiMessage:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if not self.reading.is_set():
            await self.reading.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        self.raw += message["body"]
        self.seen += self._decoder.feed(message["body"])
        if not message["more_body"]:
            self.complete = True
            self._gone.set()

    @property
    def ended(self) -> bool:
        """Whether the terminal event has arrived."""
        return bool(self.seen) and self.seen[-1].event in TERMINAL

    @property
    def position(self) -> int:
        return number(self.seen[-1]) if self.seen else 0

    async def reaches(self, position: int, what: str = "") -> None:
        """Waits until this event is the newest one seen."""
        await until(lambda: self.position == position, what or f"event {position}")

    async def watch(
        self,
        hub: Hub,
        job_id: str,
        position: int = 0,
        wire: Format = native,
        epoch: str = "",
        *,
        cut: Cut | None = None,
    ) -> None:
        """Watches until the response ends or this client leaves."""
        feed = await hub.feed(job_id, position, epoch)
        await SseResponse(hub, feed, wire, position, epoch=epoch, send_timeout=5, cut=cut)(
            {"type": "http"}, self.receive, self.send
        )


def number(message: Message) -> int:
    return Position.parse(message.id).seq


def text(messages: Sequence[Message]) -> str:
    """The joined text of native `content` events."""
    parts = []
    for message in messages:
        if message.event in TEXT:
            fields = orjson.loads(message.data)
            parts.append(fields["content"])
    return "".join(parts)


def check_stream(messages: Sequence[Message], after: int, last: int, first_text: int = 3) -> None:
    """Checks promise 1 for one client: every event after its position once, in order, up to one terminal event.

    The log is a Player's: `queued`, `started`, text from `first_text` to `last` - 1, a terminal event.
    """
    numbers = [number(message) for message in messages]
    assert numbers == sorted(set(numbers)), "numbers rise"
    assert min(numbers, default=last) > after
    assert numbers[-1] == last
    assert [message.event in TERMINAL for message in messages] == [False] * (len(messages) - 1) + [True]
    assert text(messages) == said(max(first_text, after + 1), last - 1)
    kinds = [message.event for message in messages]
    assert kinds.count("queued") == (after < 1)
    assert kinds.count("started") == (after < 2)
