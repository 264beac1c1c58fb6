"""Providers that do not do what a cancel asks of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

#: Seconds of a computation that nothing interrupts.
BLOCKED = 12.0


async def deaf(request: dict[str, Any]) -> AsyncIterator[str]:
    """Counts when it is asked to count. Else it ignores that it is closed."""
    if "Count" in request["messages"][-1]["content"]:
        for word in ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]:
            await asyncio.sleep(0)
            yield f"{word} "
        return
    yield "said "
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


async def stands_still(request: dict[str, Any]) -> AsyncIterator[str]:
    """Counts when it is asked to count. Else it computes without awaiting, after a while."""
    if "Count" in request["messages"][-1]["content"]:
        for word in ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]:
            await asyncio.sleep(0)
            yield f"{word} "
        return
    yield "said "
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0.5)  # what is said reaches the log
    time.sleep(BLOCKED)  # noqa: ASYNC251  # the fault itself
    yield "done"
