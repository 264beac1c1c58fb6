"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

WITHIN = 60.0
"""Seconds that a test waits for something that takes a moment on an idle machine.

A condition that comes true early ends the wait.
"""

#: Seconds between two checks: the first and the longest pause.
_PAUSE, _LONGEST = 0.005, 0.03

T = TypeVar("T")


@overload
async def until(check: Callable[[], Awaitable[T | None]], what: str = ..., within: float = ...) -> T: ...


@overload
async def until(check: Callable[[], T], what: str = ..., within: float = ...) -> T: ...


async def until(check: Callable[[], Any], what: str = "", within: float = WITHIN) -> Any:
    """Returns the first true result of `check`, awaited if it is awaitable.

    Raises AssertionError with `what`, or the check's source, after `within` seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    pause = _PAUSE
    while True:
        found = check()
        answer = await found if inspect.isawaitable(found) else found
        if answer:
            return answer
        assert loop.time() < deadline, f"waited {within:g} s for {what or inspect.getsource(check).strip()}"
        await asyncio.sleep(pause)
        pause = min(1.3 * pause, _LONGEST)
