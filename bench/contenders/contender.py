"""What a contender of the fan-out is: a server that many watch, and a way to publish to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from bench.harness.stack import Stack

#: Publishes the events of these texts, in order, and is done when the server has taken them.
Publish = Callable[[Sequence[bytes]], Awaitable[None]]


@dataclass(frozen=True)
class Running:
    """A started contender with one channel."""

    port: int
    #: The GET of a watcher who comes now, and wants what comes after.
    request: Callable[[], str]
    #: By role. `server` holds the watchers' connections; the others do what it needs done.
    pids: dict[str, int]
    publish: Publish
    #: Texts of one call at full speed.
    batch: int


@dataclass(frozen=True)
class Contender:
    """One way to show one channel to many."""

    name: str
    #: Why it cannot run here; empty if it can.
    missing: Callable[[], str]
    start: Callable[[Stack], AbstractAsyncContextManager[Running]]


def nothing() -> str:
    """Of a contender that needs no more than the project itself."""
    return ""
