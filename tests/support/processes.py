"""Processes of a stack: their programs, their signals, their output."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.support.forked import Forked

ROOT: Final = Path(__file__).parents[2]
READY_WITHIN: Final = 120.0
_END_WITHIN: Final = 60.0
TAIL: Final = 6000

API_CODE: Final = """
import logging, sys
from readalong.api.server import run
from readalong.core.settings import load
logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
sys.exit(run(load(), host="127.0.0.1", port=int(sys.argv[1])))
"""
WORKER_CODE: Final = """
import logging, sys
from readalong.core.settings import load
from readalong.worker.main import run
logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
sys.exit(run(load()))
"""


class Process:
    """One process of a stack: `start`, `kill`, `term`, `stop`, `cont`, `restart`. Its output goes to a file."""

    def __init__(self, name: str, words: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.words = list(words)
        self.log = folder / f"{name}.log"
        self._environment = dict(environment)
        self._more: dict[str, str] = {}
        self._group = 0
        self._from = 0
        self._marked = 0
        self._process: subprocess.Popen[bytes] | Forked | None = None

    def start(self, group: int, more: Mapping[str, str] | None = None, *, fork: bool = True) -> None:
        """Starts the process in a process group, with `more` added to its usual environment.

        It is a new Python, not a fork, without imports.
        """
        self._group = group
        self._more = dict(more or {})
        self._from = self.log.stat().st_size if self.log.exists() else 0
        environment = {**self._environment, **self._more}
        with self.log.open("ab") as log:
            if fork:
                self._process = Forked.start(self.words, group, environment, log)
                return
            self._process = subprocess.Popen(
                [sys.executable, *self.words],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=group,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def usual(self) -> bool:
        """Whether it runs with its usual code and environment."""
        return self.running and not self._more

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        return None if self._process is None else self._process.poll()

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds since the last start. Linux only."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def output(self) -> str:
        """The output since the last start."""
        return self._read(self._from)

    @property
    def news(self) -> str:
        """The output since `mark`, including that of earlier runs."""
        return self._read(self._marked)

    def mark(self) -> None:
        """Sets the start of `news`."""
        self._marked = self.log.stat().st_size if self.log.exists() else 0

    def kill(self) -> None:
        """Sends SIGKILL and waits for the end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def term(self) -> None:
        """Sends SIGTERM."""
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """Sends SIGSTOP: the process exists and does nothing."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Sends SIGCONT."""
        self._signal(signal.SIGCONT)

    def restart(self, **more: str) -> None:
        """Kills the process if it runs and starts it with `more` added to its usual environment.

        Does not wait until it is ready.
        """
        self.kill()
        self.start(self._group, more)

    def restart_as(self, code: str, **more: str) -> None:
        """Restarts it with other Python code and additional environment. The next `restart` undoes this."""
        self._restart_as(code, more, fork=True)

    def restart_cold_as(self, code: str, **more: str) -> None:
        """Like `restart_as`, for code that must run before the imports."""
        self._restart_as(code, more, fork=False)

    def _restart_as(self, code: str, more: Mapping[str, str], *, fork: bool) -> None:
        assert more, "or `heal` would take it for a usual one"
        assert self.words[0] == "-c", f"{self.name} does not run code of ours"
        usual, self.words[1] = self.words[1], code
        try:
            self.kill()
            self.start(self._group, more, fork=fork)
        finally:
            self.words[1] = usual

    def wait(self) -> int | None:
        """Waits for the exit code; returns None after a minute."""
        assert self._process is not None, f"{self.name} was never started"
        with suppress(subprocess.TimeoutExpired):  # the caller checks the returned code
            return self._process.wait(_END_WITHIN)
        return None

    def line(self, pattern: str) -> str:
        """Returns the first group of the first matching line of its output; waits for that line."""
        deadline = time.monotonic() + READY_WITHIN
        while (found := re.search(pattern, self.output)) is None:
            assert self.running, f"{self.name} exited with {self.code}:\n{self.output[-TAIL:]}"
            assert time.monotonic() < deadline, f"{self.name} does not start:\n{self.output[-TAIL:]}"
            time.sleep(0.02)
        return found[1]

    def _read(self, start: int) -> str:
        with self.log.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, f"{self.name} was never started"
        self._process.send_signal(number)


class Api(Process):
    """An API process. It keeps its port over restarts."""

    def __init__(self, name: str, environment: Mapping[str, str], folder: Path) -> None:
        super().__init__(name, ["-c", API_CODE, "0"], environment, folder)

    @property
    def url(self) -> str:
        """The URL of the API, once it listens."""
        if self.words[-1] == "0":
            self.words[-1] = self.line(r"serving on http://127\.0\.0\.1:(\d+)")
        return f"http://127.0.0.1:{self.words[-1]}"
