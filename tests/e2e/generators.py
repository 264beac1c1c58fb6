"""The providers of the stack of `test_providers`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

#: The words of each answer.
WORDS: Final = [f"{number} " for number in range(60)]


async def counts(request: dict[str, Any]) -> AsyncIterator[str]:
    """Writes a file when it is closed."""
    try:
        for word in WORDS:
            await asyncio.sleep(0.02)
            yield word
    finally:
        _mark("closed", request)


async def deaf(request: dict[str, Any]) -> AsyncIterator[str]:
    """Never ends, even when it is cancelled."""
    yield "said"
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            _mark("ignored", request)


def _mark(what: str, request: dict[str, Any]) -> None:
    (Path(os.environ["READALONG_TEST_MARKS"]) / f"{what}-{request['user']}").touch()
