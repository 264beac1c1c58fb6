"""A chat of the AI SDK in a process of Node (`node/chat.mjs`)."""

from __future__ import annotations

import asyncio
import fcntl
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

from tests.support.waiting import WITHIN, until

FOLDER: Final = Path(__file__).parent / "node"
#: Bytes of a line: it holds all messages.
_LIMIT: Final = 2**24


def install() -> None:
    """Installs the packages of the lock file, unless they are there. One process at a time does."""
    lock, done = FOLDER / "package-lock.json", FOLDER / "node_modules" / ".package-lock.json"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
            command = ["npm", "ci", "--no-audit", "--no-fund"]
            ran = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
            assert ran.returncode == 0, f"npm ci failed:\n{ran.stdout}{ran.stderr}"
            done.touch()


class NodeChat:
    """One chat. Each call returns its state afterwards: status, error, messages, data, requests."""

    def __init__(self, process: asyncio.subprocess.Process, errors: asyncio.Task[bytes]) -> None:
        self._process = process
        self._errors = errors

    @classmethod
    async def start(cls, version: int, transport: str, **options: Any) -> Self:
        """`transport`: default or workflow. `options`: as `node/chat.mjs` has them."""
        return await cls.of("chat.mjs", str(version), transport, json.dumps(options))

    @classmethod
    async def of(cls, *words: str) -> Self:
        """A script of `node/` that reads and answers as `chat.mjs` does, with its arguments."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "node", *words, cwd=FOLDER, stdin=pipe, stdout=pipe, stderr=pipe, limit=_LIMIT
        )
        assert process.stderr is not None
        chat = cls(process, asyncio.create_task(process.stderr.read()))
        # Loading the packages takes seconds: an answer that is to be resumed would be over.
        await chat.do("show")
        return chat

    async def do(self, what: str, **fields: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **fields}).encode() + b"\n")
        async with asyncio.timeout(WITHIN):
            line = await self._process.stdout.readline()
        if not line:
            raise AssertionError((await self._errors).decode())
        shown: dict[str, Any] = json.loads(line)
        return shown

    async def says(self, length: int = 1, of: Callable[[dict[str, Any]], str] | None = None) -> dict[str, Any]:
        """Returns the state once the newest message is the assistant's, with so much text. `of`: a state's text, if it
        is not in parts."""
        of = of or text

        async def found() -> dict[str, Any] | None:
            shown = await self.do("show")
            assert shown["error"] is None, shown
            return shown if shown["messages"][-1]["role"] == "assistant" and len(of(shown)) >= length else None

        return await until(found, "the assistant's text")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._errors


def paced(tokens: int = 300, rate: float = 75) -> dict[str, Any]:
    """Returns the fields of a body that ask the demo model for so many tokens at this rate."""
    return {"model": "demo", "demo": {"tokens": tokens, "tokens_per_second": rate, "first_token_seconds": 0}}


def text(shown: dict[str, Any]) -> str:
    """The text of the newest message."""
    return "".join(part["text"] for part in shown["messages"][-1]["parts"] if part["type"] == "text")
