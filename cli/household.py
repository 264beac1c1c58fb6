"""Starts, watches and ends processes as one group.

All processes are in one process group, and it is not the terminal's: Ctrl-C reaches the demo alone, which ends the
others in order. In the terminal's group each would get the SIGINT at once, and Valkey would be gone before the API had
ended its streams. The group's leader is the guard (see `cli.guard`), which outlives the demo and kills what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Final, Self

from cli import guard
from cli.child import Child
from cli.problem import Problem
from cli.reach import stranger

#: A process that is started again this often in that many seconds is not started once more.
_RESTARTS: Final = 5
_RESTARTS_SECONDS: Final = 30.0
#: Bytes of the path of the folder, at most: that of a socket in it may have 103 on macOS.
_FOLDER_BYTES: Final = 90


class Household:
    """Use it as an async context manager: on the way out it ends every process, role by role in the given order.

    `orphan_grace`: seconds that the processes get to end by themselves when the demo dies; 0: none. `say` is called
    with a line for a person.
    """

    def __init__(self, order: Sequence[str], say: Callable[[str], None], *, orphan_grace: float = 0.0) -> None:
        self._order = order
        self.children: list[Child] = []
        #: Done with the reason when a vital process has ended.
        self.failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        #: Whether everything has started: from now on processes that may restart do.
        self.settled = False
        self._say = say
        self._orphan_grace = orphan_grace
        self._folder: str | None = None
        self._guard: asyncio.subprocess.Process | None = None
        self._alive: tuple[int, int] | None = None
        self._watchers: set[asyncio.Task[None]] = set()
        self._closing = False
        self._deaths: deque[float] = deque(maxlen=_RESTARTS)

    async def __aenter__(self) -> Self:
        self._alive = os.pipe()
        try:
            self._folder = _private_folder()
            self._guard = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", str(Path(guard.__file__)), str(self._orphan_grace), str(self._alive[0])),
                self._folder,
                env=stranger(os.environ),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                process_group=0,
                pass_fds=(self._alive[0],),
            )
        except BaseException:
            self._close_pipes()
            self._remove_folder()
            raise
        self._spawn_task(self._watch_guard())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        try:
            for role in self._order:
                await self._stop([child for child in self.children if child.role == role])
        finally:
            self.kill()
            # Those too whose process is gone: their pipe may be open still, and somebody reads it.
            await asyncio.gather(*(child.ended() for child in self.children))
            if self._guard is not None:
                await self._guard.wait()
            for watcher in self._watchers:
                watcher.cancel()
            await asyncio.gather(*self._watchers, return_exceptions=True)
            self._close_pipes()
            self._remove_folder()

    @property
    def folder(self) -> str:
        """A folder that its user alone reaches. It goes with the household, also when the demo is killed."""
        assert self._folder is not None, "not entered"
        return self._folder

    async def start(self, child: Child) -> None:
        """Starts it in the group and watches it. Raises Problem."""
        self.children.append(child)
        await self._spawn(child)
        self._spawn_task(self._watch(child))

    def forget(self, child: Child) -> None:
        """Takes a process that has ended out of the household."""
        self.children.remove(child)

    def fail(self, reason: str) -> None:
        """Gives the reason why everything must end; the first one counts."""
        if not self.failed.done():
            self.failed.set_result(reason)

    def kill(self) -> None:
        """SIGKILL to the whole group, the guard and all grandchildren too."""
        if self._guard is not None and self._guard.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended a moment ago
                os.killpg(self._guard.pid, signal.SIGKILL)
        for child in self.children:  # the guard may have been killed, and the group's number be another's by now
            child.kill()

    async def _spawn(self, child: Child) -> None:
        assert self._guard is not None, "not entered"
        assert self._alive is not None, "not entered"
        try:
            await child.spawn(self._guard.pid, self._alive[1])
        except OSError as error:
            raise Problem(f"cannot start {child.name}: {error}") from None

    async def _watch(self, child: Child) -> None:
        while True:
            await child.ended()
            if self._closing or not child.vital:
                return
            if not self._may_restart(child):
                self.fail(child.report())
                return
            before, fate = child.pid, child.fate()
            try:
                await self._spawn(child)
            except Problem as problem:
                self.fail(problem.message)
                return
            self._say(f"{child.name} (pid {before}) {fate}; started again as pid {child.pid}")

    def _may_restart(self, child: Child) -> bool:
        if not (child.restarts and self.settled):
            return False
        now = time.monotonic()
        often = len(self._deaths) == _RESTARTS and now - self._deaths[0] < _RESTARTS_SECONDS
        self._deaths.append(now)
        return not often

    async def _watch_guard(self) -> None:
        assert self._guard is not None, "not entered"
        await self._guard.wait()
        if not self._closing:
            self.fail(f"the guard (pid {self._guard.pid}) was killed: nobody would end the others if the demo died")

    async def _stop(self, children: Iterable[Child]) -> None:
        async def stop(child: Child) -> None:
            if not await child.stop():
                self._say(f"{child.name} (pid {child.pid}) did not end within {child.grace:g} s and was killed")

        await asyncio.gather(*(stop(child) for child in children))

    def _spawn_task(self, work: Coroutine[None, None, None]) -> None:
        self._watchers.add(asyncio.create_task(work))

    def _close_pipes(self) -> None:
        if self._alive is not None:
            for descriptor in self._alive:
                os.close(descriptor)
            self._alive = None

    def _remove_folder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)  # the guard may have removed it


def _private_folder() -> str:
    """A new folder, mode 0700, whose path is short enough for that of a socket in it. Raises Problem."""
    try:
        folder = tempfile.mkdtemp(prefix="readalong-")
    except OSError as error:
        raise Problem(f"cannot make a temporary folder: {error}") from None
    if len(os.fsencode(folder)) <= _FOLDER_BYTES:
        return folder
    os.rmdir(folder)
    return tempfile.mkdtemp(prefix="readalong-", dir="/tmp")
