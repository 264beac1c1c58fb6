"""Functions for the setting `READALONG_CREDENTIALS`."""

from __future__ import annotations

from typing import Any, Final

PATH: Final = "tests.worker.keys_that_change"

#: The next values, each returned or raised.
keys: list[Any] = []


def key() -> Any:
    found = keys.pop(0)
    if isinstance(found, Exception):
        raise found
    return found


async def later() -> Any:
    return key()


def takes_one(what: str) -> str:
    return what
