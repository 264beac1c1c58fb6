"""A contender of the fan-out: a server with many watchers, and a way to publish to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from bench.harness.stack import Stack

#: Publishes the events of these texts, in order, and returns when the server has taken them.
Publish = Callable[[Sequence[bytes]], Awaitable[None]]


@dataclass(frozen=True)
class Running:
    """A started contender with one channel."""

    port: int
    #: The GET of a new watcher that wants the next events.
    request: Callable[[], str]
    #: By role. `server` holds the watchers' connections; the others support it.
    pids: dict[str, int]
    publish: Publish
    #: Texts of one call at full speed.
    batch: int


@dataclass(frozen=True)
class Contender:
    """One way to show one channel to many watchers."""

    name: str
    #: Why it cannot run here; empty if it can.
    missing: Callable[[], str]
    start: Callable[[Stack], AbstractAsyncContextManager[Running]]


def nothing() -> str:
    """For a contender that needs only the project itself."""
    return ""
