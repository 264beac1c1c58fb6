"""Waits for a job as a watcher does, for a client that gets one whole response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from starlette.requests import ClientDisconnect, Request

from readalong.api.fanout.feed import Feed
from readalong.api.fanout.hub import Hub
from readalong.core.errors import JobNotFound, Stopping
from readalong.store.epochs import Epochs

_CLOSED: Final = "The job's log is gone."


class HasHub(Protocol):
    """The dependencies of the application, as far as they matter here."""

    @property
    def hub(self) -> Hub: ...


class EndWatcher:
    """A watcher of a feed that writes nothing. `waiting` is done when `ready` returns True, or when the feed closes."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self.waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._ready = ready

    def push(self) -> None:
        if not self.waiting.done() and self._ready():
            self.waiting.set_result(True)

    def lose(self, seq: int, ahead: Epochs | None = None) -> None:
        pass  # it has no position

    def beat(self, seconds: float, heartbeat: float) -> None:
        pass  # it writes no comments

    def close(self) -> None:
        if not self.waiting.done():
            self.waiting.set_result(False)


async def wait_for_end(deps: HasHub, request: Request, feed: Feed) -> None:
    """Returns when the job has ended. Meanwhile its client counts as a watcher of the job.

    Raises ClientDisconnect if the client leaves, Stopping if this process stops, JobNotFound if the job is erased or
    lost. The request's body has been read.
    """
    await wait_until(deps, request, feed, lambda: feed.ended, None)


async def wait_until(
    deps: HasHub,
    request: Request,
    feed: Feed,
    ready: Callable[[], bool],
    seconds: float | None,
    *,
    stay: bool = False,
) -> None:
    """Returns when `ready()` is True, which is asked at each new event, or after so many seconds. Raises as
    `wait_for_end`. `stay`: when it returns, the client still counts as a watcher, until the caller releases the feed or
    its response does."""
    watcher = EndWatcher(ready)
    deps.hub.arrives(feed)
    feed.add(watcher)
    watcher.push()
    leaving: asyncio.Task[None] | None = None
    stays = False
    try:
        if feed.closed:  # while the caller waited for something else
            watcher.close()
        if not watcher.waiting.done():
            leaving = asyncio.create_task(_leaves(request))
            events: list[asyncio.Future[Any]] = [watcher.waiting, leaving]
            await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done() and not watcher.waiting.done():
                raise ClientDisconnect
        if watcher.waiting.done() and not watcher.waiting.result():
            if deps.hub.stopping:
                raise Stopping("This process is stopping.", retry_after=1)
            raise JobNotFound(_CLOSED)
        stays = stay
    finally:
        if leaving is not None:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        feed.remove(watcher)
        if not stays:
            deps.hub.release(feed)


async def _leaves(request: Request) -> None:
    """Returns when the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
