"""Starts, supervises and ends processes as one group.

All processes are in one process group, and it is not the terminal's: Ctrl-C reaches the demo alone, which ends the
others in order. In the terminal's group each would get the SIGINT at once, and Valkey would be gone before the API had
ended its streams. The group's leader is a shell that waits for the end of a pipe which only the demo holds: however the
demo dies, the shell kills the group, grandchildren too, without having been told of any.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, Self

from readalong.cli.problem import Problem
from readalong.cli.reach import stranger
from readalong.core.sanitize import harmless

#: A process that is started again this often in that many seconds is not started once more.
_RESTARTS: Final = 5
_RESTARTS_SECONDS: Final = 30.0
#: Lines of a process's output that are kept, and characters of each.
_LINES: Final = 12
_LINE_LENGTH: Final = 400
#: Bytes of the path of the folder for temporary files, at most: that of a socket below it may have 103 on macOS.
_PATH_BYTES: Final = 70
#: The SIGKILL ends the shell itself too.
_WATCHDOG: Final = """trap '' TERM INT HUP; read _; rm -rf -- "$1"; kill -9 0"""


@dataclass(slots=True)
class ManagedProcess:
    """Processes of one `role` end together; `name` is for people. `grace`: seconds between SIGTERM and SIGKILL.
    `loss`: what to add to the line that says that it was started again."""

    role: str
    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    grace: float = 5.0
    loss: str = ""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    process: Process = field(init=False)

    async def spawn(self, group: int) -> None:
        """Starts it in the process group `group`. Raises Problem."""
        self.lines.clear()
        # stdin: a process outside the terminal's foreground group is stopped when it reads the terminal.
        how: dict[str, Any] = {"stdin": DEVNULL, "stdout": PIPE, "stderr": STDOUT, "process_group": group}
        try:
            self.process = await asyncio.create_subprocess_exec(*self.command, env=self.environment, **how)
        except OSError as error:
            raise Problem(f"cannot start {self.name}: {error}") from None

    def fate(self) -> str:
        """Returns `worker (pid 7) exited with code 1`, or the signal that killed it."""
        code = self.process.returncode
        fate = "is running" if code is None else f"exited with code {code}"
        if code is not None and code < 0:
            fate = f"was killed by signal {-code} ({signal.strsignal(-code)})"
        return f"{self.name} (pid {self.process.pid}) {fate}"

    def report(self) -> str:
        """Returns what became of it, with its last lines."""
        return "\n".join([self.fate(), *(f"  {line}" for line in self.lines)])


class ProcessGroup:
    """Use it as an async context manager: on the way out it ends the processes, those that were started last first.

    A process that ends is started again, once `settled` is set. `fail` is called with the reason why everything must
    end, perhaps more than once; `say` with a line for a person; `show` with a process' name and each line of it.
    """

    def __init__(
        self, say: Callable[[str], None], fail: Callable[[str], None], show: Callable[[str, str], None]
    ) -> None:
        self.processes: list[ManagedProcess] = []
        self.settled = False
        self._say = say
        self._fail = fail
        self._show = show
        self._closing = False

    async def __aenter__(self) -> Self:
        """Raises Problem."""
        short = len(os.fsencode(tempfile.gettempdir())) <= _PATH_BYTES
        try:
            #: A folder of mode 0700. It goes with the group, also when the demo is killed.
            self.folder = tempfile.mkdtemp(prefix="readalong-", dir=None if short else "/tmp")
            try:
                self._watchdog = await asyncio.create_subprocess_exec(
                    *("/bin/sh", "-c", _WATCHDOG, "watchdog", self.folder),
                    env=stranger(os.environ),
                    process_group=0,
                    stdin=PIPE,
                    stdout=DEVNULL,
                    stderr=DEVNULL,
                )
            except BaseException:
                os.rmdir(self.folder)
                raise
        except OSError as error:
            raise Problem(f"cannot start: {error}") from None
        self._tasks = [asyncio.create_task(self._supervise_watchdog())]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        try:
            for _role, processes in groupby(reversed(self.processes), lambda managed: managed.role):
                await asyncio.gather(*map(self._stop, processes))
        finally:
            self.kill()
            await asyncio.gather(*self._tasks)
            shutil.rmtree(self.folder, ignore_errors=True)  # the watchdog may have removed it

    async def start(self, managed: ManagedProcess) -> None:
        """Starts a process and supervises it from then on. Raises Problem."""
        await managed.spawn(self._watchdog.pid)
        self.processes.append(managed)
        self._tasks.append(asyncio.create_task(self._supervise(managed)))

    def kill(self) -> None:
        """Sends SIGKILL to the whole group, the watchdog and all grandchildren too."""
        if self._watchdog.returncode is None:
            with suppress(ProcessLookupError):  # all have ended
                os.killpg(self._watchdog.pid, signal.SIGKILL)
        else:  # its number may be another's by now
            for managed in self.processes:
                with suppress(ProcessLookupError):
                    managed.process.kill()

    async def _supervise(self, managed: ManagedProcess) -> None:
        deaths: deque[float] = deque(maxlen=_RESTARTS)
        while True:
            await self._read(managed)
            await managed.process.wait()
            if self._closing:
                return
            now = time.monotonic()
            if not self.settled or (len(deaths) == _RESTARTS and now - deaths[0] < _RESTARTS_SECONDS):
                self._fail(managed.report())
                return
            deaths.append(now)
            fate = managed.fate()
            try:
                await managed.spawn(self._watchdog.pid)
            except Problem as problem:
                self._fail(f"{fate}; {problem.message}")
                return
            self._say(f"{fate}; started again as pid {managed.process.pid}{managed.loss}")

    async def _read(self, managed: ManagedProcess) -> None:
        """Returns when its output has ended: then what it forked has ended too, and no port is held any more."""
        reader, rest = managed.process.stdout, b""
        assert reader is not None, "started without a pipe"
        while True:
            # Not readline: a line beyond its limit is an error that would end the reading.
            piece = await reader.read(65_536)
            *lines, rest = (rest + (piece or b"\n")).split(b"\n")
            rest = rest[: 4 * _LINE_LENGTH]
            for raw in lines:
                if line := harmless(raw[: 4 * _LINE_LENGTH].decode(errors="replace").rstrip())[:_LINE_LENGTH]:
                    managed.lines.append(line)
                    self._show(managed.name, line)
            if not piece:
                return

    async def _supervise_watchdog(self) -> None:
        await self._watchdog.wait()
        if not self._closing:
            self._fail(f"the watchdog (pid {self._watchdog.pid}) has ended: it kills the others if the demo dies")

    async def _stop(self, managed: ManagedProcess) -> None:
        if managed.process.returncode is None:
            managed.process.terminate()
            try:
                await asyncio.wait_for(managed.process.wait(), managed.grace)
            except TimeoutError:
                self._say(f"{managed.name} (pid {managed.process.pid}) did not end within {managed.grace:g} s: killed")
                managed.process.kill()
