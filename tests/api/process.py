"""The API as a process of its own, with real signals."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.forked import Forked
from tests.support.servers import free_port
from tests.support.waiting import until

_CODE = """
import logging, sys
from readalong.api.server import run
from readalong.core.settings import load
logging.basicConfig(level="INFO", format="%(levelname)s %(message)s")
sys.exit(run(load(), host="127.0.0.1", port=int(sys.argv[1]), processes=int(sys.argv[2])))
"""


class ApiProcess:
    """Runs `readalong.api.server.run` on a port, with its log in a file. Leaving the context kills the process.

    `cold`: starts a new Python, whose memory is not shared, in place of a fork that has done its imports.
    """

    def __init__(
        self, redis_url: str, *, processes: int = 1, port: int | None = None, cold: bool = False, **settings: Any
    ) -> None:
        self.port = port or free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="readalong-api-")
        self._log = Path(self._folder.name) / "log"
        named = {f"READALONG_{name.upper()}": str(value) for name, value in settings.items()}
        words = ["-c", _CODE, str(self.port), str(processes)]
        usual = {"READALONG_REDIS_URL": redis_url, "READALONG_REDIS_TIMEOUT": "10", "READALONG_HOSTS": "test"}
        environment = {**os.environ, **usual, **named}
        self._process: Forked | subprocess.Popen[bytes]
        with self._log.open("wb") as log:
            if cold:
                self._process = subprocess.Popen(
                    [sys.executable, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    process_group=0,
                )
            else:
                self._process = Forked.start(words, 0, environment, log)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def serving(self) -> list[int]:
        """Returns the ids of all processes that have begun to serve, in that order."""
        return [int(pid) for pid in re.findall(r"serving on http://127\.0\.0\.1:\d+, process (\d+)", self.log)]

    @property
    def code(self) -> int | None:
        """Returns the exit code; None while the process runs."""
        return self._process.poll()

    def signal(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    async def wait_for_first_line(self) -> None:
        """Waits until the first process begins to serve, or has ended."""
        await until(lambda: self.serving or self.code is not None, "the first line")

    async def wait_for_no_process(self) -> None:
        """Waits until all processes that have begun to serve are gone."""
        await until(lambda: not any(map(alive, self.serving)), "its processes to end")

    async def wait_for_serving(self, count: int = 1) -> list[int]:
        """Waits until this many processes have begun to serve and one of them responds. Returns their ids."""
        await until(lambda: len(self.serving) >= count or self.code is not None, "its processes to serve")
        assert self.code is None, self.log
        await until(lambda: _answers(self.port), "an answer")
        return self.serving

    async def wait_for_end(self, within: float = 100) -> int:
        """Returns the exit code."""
        await until(lambda: self.code is not None, f"the end; it says {self.log}", within)
        assert self.code is not None
        return self.code

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.code is None:
            # Its own process group, so that the signal reaches children too.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if error is not None:
            error.add_note(self.log)
        self._folder.cleanup()


async def _answers(port: int) -> bool:
    """Returns whether the port accepts connections."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.transport.abort()
    return True


def alive(pid: int) -> bool:
    """Returns whether the process exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:  # it has just ended, or this is not Linux
        return not Path("/proc/self").exists()
