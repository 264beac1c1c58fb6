"""The SDK of OpenAI for Node in a process of its own (`node/openai.mjs`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import count
from typing import Any, Final, Self

from tests.clients.node_chat import FOLDER
from tests.support.waiting import WITHIN

#: Bytes of a line: it holds all events of a stream.
_LIMIT: Final = 2**26


class NodeError(Exception):
    """What the SDK threw. `items`: those that a stream had before it."""

    def __init__(self, error: dict[str, Any], items: list[Any]) -> None:
        super().__init__(error["message"])
        self.name: str = error["name"]
        self.fields = error
        self.items = items


class NodeOpenAI:
    """Calls of clients in one process; they run at the same time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        self._process = process
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._errors = asyncio.create_task(process.stderr.read())
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls) -> Self:
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(
                *("node", "openai.mjs"), cwd=FOLDER, stdin=pipe, stdout=pipe, stderr=pipe, limit=_LIMIT
            )
        )

    async def call(self, url: str, path: str, *args: Any, **more: Any) -> Any:
        """Returns what a method of the client resolves to. Raises NodeError. `more`: see `node/openai.mjs`."""
        return await self._do("call", url, path, args, more)

    async def list(self, url: str, path: str, *args: Any, **more: Any) -> list[Any]:
        """Returns the items of what it resolves to: chunks, events, those of all pages."""
        found: list[Any] = await self._do("list", url, path, args, more)
        return found

    async def helper(self, url: str, path: str, *args: Any, **more: Any) -> tuple[set[str], Any]:
        """Returns the types of the events that a stream's helper emits, and what it ends with."""
        found = await self._do("helper", url, path, args, more)
        return set(found["events"]), found["final"]

    async def accumulate(self, chunks: Sequence[Any]) -> tuple[Any, Any]:
        """Returns the ends of calls that the helper of chat completions tells, and what it ends with."""
        found = await self._do("accumulate", "", "chat.completions.create", tuple(chunks), {})
        return found["ended"], found["final"]

    async def _do(self, what: str, url: str, path: str, args: tuple[Any, ...], more: dict[str, Any]) -> Any:
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        command = {"id": number, "do": what, "url": url, "path": path, "args": args, **more}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        async with asyncio.timeout(WITHIN):
            said = await waiting
        if "error" in said:
            raise NodeError(said["error"], said["items"])
        return said["value"]

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            self._waiting.pop(said["id"]).set_result(said)
        left = AssertionError(f"node ended: {(await self._errors).decode()}")
        for waiting in self._waiting.values():
            waiting.set_exception(left)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reading.cancel()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._errors
