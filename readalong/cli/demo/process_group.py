"""Starts, supervises, restarts and ends processes as one group.

All processes are in one process group, and not in the terminal's: Ctrl-C reaches the demo alone, which ends the others
in order. In the terminal's group each process would get the SIGINT at once, and Valkey would end before the API had
ended its streams. The leader of the group is the watchdog, a shell that waits for the end of a pipe. Only the demo
holds the other end: when the demo dies, however it dies, the shell kills the whole group, grandchildren too.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from typing import Final, Self

from readalong.cli.demo.managed_process import ManagedProcess
from readalong.cli.errors import CliError
from readalong.cli.model_env import without_settings

#: A process that dies again after this many restarts in this many seconds is a failure.
_RESTARTS: Final = 5
_RESTARTS_SECONDS: Final = 30.0
#: Bytes of the path of the folder for temporary files, at most: on macOS a socket's path may have 103 bytes.
_PATH_BYTES: Final = 70
#: The SIGKILL ends the shell, too.
_WATCHDOG: Final = """trap '' TERM INT HUP; read _; rm -rf -- "$1"; kill -9 0"""


class ProcessGroup:
    """An async context manager that ends all processes at its exit, in reverse order of their start.

    With `restarts` a process that dies is started again. `say` is called with a line to show, `show` with a process's
    name and each line of its output, `fail` with the reason why everything must end, perhaps more than once.
    """

    def __init__(
        self, say: Callable[[str], None], fail: Callable[[str], None], show: Callable[[str, str], None]
    ) -> None:
        self.processes: list[ManagedProcess] = []
        self.restarts = False
        self._say = say
        self._fail = fail
        self._show = show
        self._closing = False

    async def __aenter__(self) -> Self:
        """Raises CliError."""
        short = len(os.fsencode(tempfile.gettempdir())) <= _PATH_BYTES
        try:
            #: A folder of mode 0700. The group removes it, also when the demo is killed.
            self.folder = tempfile.mkdtemp(prefix="readalong-", dir=None if short else "/tmp")
            try:
                self._watchdog = await asyncio.create_subprocess_exec(
                    *("/bin/sh", "-c", _WATCHDOG, "watchdog", self.folder),
                    env=without_settings(os.environ),
                    process_group=0,
                    stdin=PIPE,
                    stdout=DEVNULL,
                    stderr=DEVNULL,
                )
            except BaseException:
                os.rmdir(self.folder)
                raise
        except OSError as error:
            raise CliError(f"cannot start: {error}") from None
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
        """Starts a process and supervises it. Raises CliError."""
        await managed.spawn(self._watchdog.pid)
        self.processes.append(managed)
        self._tasks.append(asyncio.create_task(self._supervise(managed)))

    def kill(self) -> None:
        """Sends SIGKILL to the whole group: the watchdog and all grandchildren, too."""
        if self._watchdog.returncode is None:
            with suppress(ProcessLookupError):  # all have ended
                os.killpg(self._watchdog.pid, signal.SIGKILL)
        else:  # the group's number may belong to another group by now
            for managed in self.processes:
                with suppress(ProcessLookupError):
                    managed.process.kill()

    async def _supervise(self, managed: ManagedProcess) -> None:
        deaths: deque[float] = deque(maxlen=_RESTARTS)
        while True:
            async for line in managed.output():
                self._show(managed.name, line)
            await managed.process.wait()
            if self._closing:
                return
            now = time.monotonic()
            if not self.restarts or (len(deaths) == _RESTARTS and now - deaths[0] < _RESTARTS_SECONDS):
                self._fail(managed.report())
                return
            deaths.append(now)
            fate = managed.fate()
            try:
                await managed.spawn(self._watchdog.pid)
            except CliError as error:
                self._fail(f"{fate}; {error.message}")
                return
            self._say(f"{fate}; started again as pid {managed.process.pid}{managed.loss}")

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
