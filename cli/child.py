"""One process of the demo and the end of what it wrote."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from readalong.sanitize import harmless

#: Lines of a process's output that are kept, and characters of each.
_LINES: Final = 12
_LINE_LENGTH: Final = 400
#: Seconds that the last lines of a process that has ended may take to arrive.
_LAST_LINES_SECONDS: Final = 1.0


class Child:
    """A process in somebody's process group. Its stdout and stderr are one pipe, read all the time.

    `role` orders the end of the demo, `name` is for people; `grace`: seconds between SIGTERM and SIGKILL; `umask`: of
    its files, -1 for the demo's own.
    """

    def __init__(
        self,
        role: str,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        grace: float = 5.0,
        directory: str | None = None,
        umask: int = -1,
        on_line: Callable[[Child, str], None] = lambda _child, _line: None,
    ) -> None:
        self.role = role
        self.name = name
        self.command = list(command)
        self.grace = grace
        #: Whether the demo ends when this process does.
        self.vital = False
        #: Whether it is started again instead.
        self.restarts = False
        self.lines: deque[str] = deque(maxlen=_LINES)
        self._environment = dict(environment)
        self._directory = directory
        self._umask = umask
        self._on_line = on_line
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._written = asyncio.Event()

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def spawn(self, group: int, alive: int) -> None:
        """Starts it in the process group `group`, holding the pipe `alive`. Raises OSError."""
        self.lines.clear()
        read, write = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                env=self._environment,
                cwd=self._directory,
                umask=self._umask,
                # A process outside the terminal's foreground group is stopped when it reads the terminal.
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write,
                stderr=write,
                process_group=group,
                pass_fds=(alive,),
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
        self._reading = asyncio.create_task(self._read(read))

    async def ended(self) -> None:
        """Returns when the process has ended and its last lines are here; at once if it could not be started."""
        if self._process is None:
            return
        await self._process.wait()
        if self._reading is not None:
            # A grandchild that lives on would hold the pipe for ever.
            await asyncio.wait([self._reading], timeout=_LAST_LINES_SECONDS)
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def stop(self) -> bool:
        """SIGTERM, and SIGKILL after `grace` seconds; answers whether the first was enough."""
        if self._process is None or not self.running:
            return True
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), self.grace)
        except TimeoutError:
            self.kill()
            await self._process.wait()
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self._process is not None and self.running:
            self._process.kill()

    async def line(self, beginning: str) -> str:
        """The first line of its output that begins so. Never returns if there is none: wait with a limit."""
        while True:
            for line in self.lines:
                if line.startswith(beginning):
                    return line
            self._written.clear()
            await self._written.wait()

    def fate(self) -> str:
        """`was killed by SIGKILL`, `exited with code 1`."""
        code = None if self._process is None else self._process.returncode
        if code is None:
            return "is running"
        if code >= 0:
            return f"exited with code {code}"
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"

    def report(self) -> str:
        """What became of it, with its last lines."""
        return "\n".join([f"{self.name} (pid {self.pid}) {self.fate()}", *(f"  {line}" for line in self.lines)])

    async def _read(self, descriptor: int) -> None:
        reader = asyncio.StreamReader()
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        rest = b""
        try:
            # Not readline: a line beyond its limit is an error that would end the reading.
            while piece := await reader.read(65_536):
                *lines, rest = (rest + piece).split(b"\n")
                self._take(lines)
                rest = rest[: 4 * _LINE_LENGTH]
            self._take([rest] if rest else [])
        finally:
            transport.close()

    def _take(self, lines: list[bytes]) -> None:
        for raw in lines:
            line = harmless(raw[: 4 * _LINE_LENGTH].decode(errors="replace").rstrip())[:_LINE_LENGTH]
            if line:
                self.lines.append(line)
                self._on_line(self, line)
        self._written.set()
