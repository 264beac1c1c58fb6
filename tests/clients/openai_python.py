"""openai-python as it is installed: its two clients behind one way to call them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import openai
import pytest

#: The two clients. A test with this mark gets the name as `kind`.
both = pytest.mark.parametrize("kind", ["sync", "async"])

_END: Final = object()
_VALUES: Final = (openai.BaseModel, str, int, type(None))


@asynccontextmanager
async def client_of(kind: str, url: str, **options: Any) -> AsyncIterator[Any]:
    """A client of an API's URL, without repeats unless `options` say otherwise. Both kinds are used as the async one
    is: `await`, `async for`, `async with`."""
    options = {"base_url": f"{url}/v1", "api_key": "sk-of-no-use", "max_retries": 0, "timeout": 60, **options}
    if kind == "async":
        async with openai.AsyncOpenAI(**options) as client:
            yield client
    else:
        with openai.OpenAI(**options) as blocking:
            yield Blocking(blocking)


class Blocking:
    """A part of the sync client, in the async one's place. What it calls runs in a thread."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def __getattr__(self, name: str) -> Any:
        part = getattr(self._part, name)
        if isinstance(part, _VALUES):
            return part
        return Call(part) if callable(part) else Blocking(part)

    def __aiter__(self) -> AsyncIterator[Any]:
        return _iterate(lambda: self._part)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._part.__enter__)
        return self

    async def __aexit__(self, *error: object) -> None:
        await asyncio.to_thread(self._part.__exit__, *error)


class Call:
    """A function of the sync client, and then its call, which one awaits, iterates or enters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._entered: Any = None

    def __call__(self, *words: Any, **named: Any) -> Call:
        return Call(lambda: self._function(*words, **named))

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._run().__await__()

    def __aiter__(self) -> AsyncIterator[Any]:
        return _iterate(self._function)

    async def __aenter__(self) -> Any:
        self._entered = await asyncio.to_thread(self._function)
        return _shown(await asyncio.to_thread(self._entered.__enter__))

    async def __aexit__(self, *error: object) -> None:
        await asyncio.to_thread(self._entered.__exit__, *error)

    async def _run(self) -> Any:
        return _shown(await asyncio.to_thread(self._function))


def _shown(value: Any) -> Any:
    """What reads from the network is wrapped: streams and their helpers."""
    return Blocking(value) if hasattr(value, "__exit__") else value


async def _iterate(function: Callable[[], Any]) -> AsyncIterator[Any]:
    iterator: Iterator[Any] = iter(await asyncio.to_thread(function))
    while (item := await asyncio.to_thread(next, iterator, _END)) is not _END:
        yield item
