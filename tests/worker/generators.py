"""Well-behaved and misbehaving providers for the setting `READALONG_PROVIDERS`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from readalong.core.errors import ModelError

PATH: Final = "tests.worker.generators"
#: The value of a variable that is named like a secret.
SECRET: Final = "sk-of-another-vendor-0123456789"

Request = dict[str, Any]

#: Records how generators ended.
closed: list[str] = []
#: Set when a generator waits; and the event that frees those that ignore their closing.
waits = asyncio.Event()
free = asyncio.Event()


async def words(request: Request) -> AsyncIterator[str]:
    for word in request["messages"][-1]["content"].split():
        yield word


async def events(request: Request) -> AsyncIterator[Any]:
    request["messages"].clear()  # the request is a copy
    yield {"type": "reasoning", "content": "Hm."}
    yield ""
    yield {"type": "content", "content": "ü\ud83d", "choice": None}
    yield {"type": "tool_call_delta", "index": 0, "id": "c1", "name": "f", "arguments": '{"a":'}
    yield {"type": "tool_call_delta", "index": 0, "arguments": "1}"}
    yield {"type": "done", "finish_reason": "tool_calls", "usage": {"completion_tokens": 3}}
    yield "never read"


async def nothing(request: Request) -> AsyncIterator[str]:
    for word in list[str]():
        yield word


async def raises(request: Request) -> AsyncIterator[str]:
    yield "said"
    raise ValueError(f"with the key {SECRET}")


async def raises_at_once(request: Request) -> AsyncIterator[str]:
    if request["model"]:
        raise ValueError(f"with the key {SECRET}")
    yield ""


async def refuses(request: Request) -> AsyncIterator[str]:
    yield "said"
    raise ModelError("no_credit", f"The key {SECRET} has no credit.", retryable=False, refuses=True)


async def exits(request: Request) -> AsyncIterator[str]:
    yield "said"
    raise SystemExit(3)


async def cancels_itself(request: Request) -> AsyncIterator[str]:
    yield "said"
    raise asyncio.CancelledError


async def a_number(request: Request) -> AsyncIterator[Any]:
    yield "said"
    yield 7


async def an_unknown_event(request: Request) -> AsyncIterator[Any]:
    yield "said"
    yield {"type": "picture"}


async def a_wrong_field(request: Request) -> AsyncIterator[Any]:
    yield "said"
    yield {"type": "content", "content": b"said"}


async def an_unknown_field(request: Request) -> AsyncIterator[Any]:
    yield "said"
    yield {"type": "content", "text": "said"}


async def no_json(request: Request) -> AsyncIterator[Any]:
    yield "said"
    yield {"type": "done", "usage": {"at": object()}}


def no_generator(request: Request) -> list[str]:
    return ["said"]


async def a_coroutine(request: Request) -> str:
    return "said"


async def endless(request: Request) -> AsyncIterator[str]:
    """Never awaits and never ends."""
    while True:
        yield "on and on, "


async def silent(request: Request) -> AsyncIterator[str]:
    """Records how it is closed, and cleans up with an await."""
    yield "said"
    try:
        waits.set()
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        closed.append("cancelled")
        raise
    finally:
        await asyncio.sleep(0)
        closed.append("cleaned up")


async def mute(request: Request) -> AsyncIterator[str]:
    await asyncio.Event().wait()
    yield ""


async def deaf(request: Request) -> AsyncIterator[str]:
    """Ignores that it is closed, until `free` is set."""
    yield "said"
    while not free.is_set():
        try:
            waits.set()
            await free.wait()
        except asyncio.CancelledError:
            closed.append("ignored")


async def talks_on(request: Request) -> AsyncIterator[str]:
    """Yields another piece when it is cancelled."""
    yield "said"
    try:
        waits.set()
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        yield "more"
    finally:
        closed.append("closed")


def takes_two(request: Request, other: str) -> None:
    """Needs a second argument, so it cannot be called."""


NO_FUNCTION: Final = "text"
