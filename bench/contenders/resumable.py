"""resumable-stream on Node: a server with many watchers, and a producer in its own process."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from bench.contenders.contender import Running
from bench.harness.stack import Stack, accepts
from bench.load.crowd import get
from tests.support.servers import free_port

#: The folder of the npm packages `resumable-stream` and `redis`, if Node does not find them by itself.
VARIABLE: Final = "READALONG_BENCH_NODE_MODULES"

_SCRIPT: Final = Path(__file__).with_suffix(".cjs")
_BATCH: Final = 20
#: Characters that the producer puts around an event.
_FRAME: Final = len("data: \n\n")
_LOOK: Final = (
    "require('redis'); const main = require.resolve('resumable-stream/generic');"
    "console.log(require(require('path').join(main, '../../package.json')).version)"
)


def missing() -> str:
    """Returns why it cannot run here."""
    if shutil.which("node") is None:
        return "Node is not installed"
    return "" if version() else f"Node finds no resumable-stream and redis; {VARIABLE} names the folder that has them"


def version() -> str:
    """Returns the package's version; empty if it cannot be loaded."""
    said = subprocess.run(
        ["node", "-e", _LOOK],
        cwd=_SCRIPT.parent,
        env=os.environ | _environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip()


def node_version() -> str:
    """Returns Node's version."""
    return subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip().lstrip("v")


@asynccontextmanager
async def start(stack: Stack) -> AsyncIterator[Running]:
    # Data of an earlier start would make this producer's stream a finished one.
    stack.redis.command("DEL", "resumable-stream:rs:sentinel:bench")
    feed, port = free_port(), free_port()
    with stack.process("producer", ["node", str(_SCRIPT), "producer", str(feed)], feed, _environment()):
        stack.wait("producer", accepts)
        with stack.process("resumable", ["node", str(_SCRIPT), "server", str(port)], port, _environment()):
            stack.wait("resumable", accepts)
            said = 0
            _, writer = await asyncio.open_connection("127.0.0.1", feed)

            async def publish(texts: Sequence[bytes]) -> None:
                nonlocal said
                said += sum(len(text) + _FRAME for text in texts)
                writer.write(b"".join(text + b"\n" for text in texts))
                await writer.drain()

            pids = {"server": stack.pids["resumable"], "producer": stack.pids["producer"]}
            yield Running(port, lambda: get(f"/?{said}"), pids, publish, _BATCH)
            writer.close()


def _environment() -> dict[str, str]:
    folder = os.environ.get(VARIABLE)
    return {"NODE_PATH": str(Path(folder).absolute())} if folder else {}
