"""One process of a group."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from readalong.cli.errors import CliError
from readalong.core.sanitize import harmless

#: Lines of output that are kept, and the characters of a line.
_LINES: Final = 12
_LINE_LENGTH: Final = 400


@dataclass(slots=True)
class ManagedProcess:
    """Processes of one `role` end together. `name` is shown. `grace`: seconds between SIGTERM and SIGKILL.

    `loss`: the end of the line that reports a restart.
    """

    role: str
    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    grace: float = 5.0
    loss: str = ""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))
    process: Process = field(init=False)

    async def spawn(self, group: int) -> None:
        """Starts the process in the process group `group`. Raises CliError."""
        self.lines.clear()
        # stdin: a process outside the terminal's foreground group is stopped when it reads the terminal.
        options: dict[str, Any] = {"stdin": DEVNULL, "stdout": PIPE, "stderr": STDOUT, "process_group": group}
        try:
            self.process = await asyncio.create_subprocess_exec(*self.command, env=self.environment, **options)
        except OSError as error:
            raise CliError(f"cannot start {self.name}: {error}") from None

    async def output(self) -> AsyncIterator[str]:
        """Yields the lines of the output and keeps the last ones.

        The output ends when all forks of the process have ended, too: then no port is held any more.
        """
        reader, rest = self.process.stdout, b""
        assert reader is not None, "started without a pipe"
        while True:
            # Not readline: a line beyond its limit is an error that would end the reading.
            part = await reader.read(65_536)
            *lines, rest = (rest + (part or b"\n")).split(b"\n")
            rest = rest[: 4 * _LINE_LENGTH]
            for raw in lines:
                if line := harmless(raw[: 4 * _LINE_LENGTH].decode(errors="replace").rstrip())[:_LINE_LENGTH]:
                    self.lines.append(line)
                    yield line
            if not part:
                return

    def fate(self) -> str:
        """Returns `worker (pid 7) exited with code 1`, or the signal that killed the process."""
        code = self.process.returncode
        fate = "is running" if code is None else f"exited with code {code}"
        if code is not None and code < 0:
            fate = f"was killed by signal {-code} ({signal.strsignal(-code)})"
        return f"{self.name} (pid {self.process.pid}) {fate}"

    def report(self) -> str:
        """Returns the process's fate and its last lines."""
        return "\n".join([self.fate(), *(f"  {line}" for line in self.lines)])
