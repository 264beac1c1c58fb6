"""Processes of a stack: their program, their signals, what they write."""

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
    """One process of a stack: `start` it, `kill`, `term`, `stop` and `cont` it, `restart` it. Its output is a file."""

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
        """Starts it in a process group, `more` over its usual environment. Not by `fork`: a Python of its own, which
        has imported nothing yet."""
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
        """Whether it runs, with its usual environment."""
        return self.running and not self._more

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def cpu_seconds(self) -> float:
        """What it has used since it was started last. On Linux only."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def output(self) -> str:
        """All that it has written since it was started last."""
        return self._read(self._from)

    @property
    def news(self) -> str:
        """What it has written since `mark`, also before a restart."""
        return self._read(self._marked)

    def mark(self) -> None:
        """`news` begins here."""
        self._marked = self.log.stat().st_size if self.log.exists() else 0

    def kill(self) -> None:
        """SIGKILL, and wait for it to be gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def term(self) -> None:
        """SIGTERM."""
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """SIGSTOP: it is there, and does nothing."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def restart(self, **more: str) -> None:
        """Kills it if it runs and starts it again, `more` over its usual environment. Does not wait for it."""
        self.kill()
        self.start(self._group, more)

    def restart_as(self, code: str, **more: str) -> None:
        """Restarts it with other Python code and something more in its environment. The next `restart` undoes it."""
        self._restart_as(code, more, fork=True)

    def restart_cold_as(self, code: str, **more: str) -> None:
        """As `restart_as`, for code that has to come before the imports."""
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
        """Its exit code; None if it does not end within a minute."""
        assert self._process is not None, f"{self.name} was never started"
        with suppress(subprocess.TimeoutExpired):  # the answer says so
            return self._process.wait(_END_WITHIN)
        return None

    def line(self, pattern: str) -> str:
        """The first group of the first line of its output that matches, as soon as it is there."""
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
    """An API process, which keeps its port."""

    def __init__(self, name: str, environment: Mapping[str, str], folder: Path) -> None:
        super().__init__(name, ["-c", API_CODE, "0"], environment, folder)

    @property
    def url(self) -> str:
        """Where it serves, once it does."""
        if self.words[-1] == "0":
            self.words[-1] = self.line(r"serving on http://127\.0\.0\.1:(\d+)")
        return f"http://127.0.0.1:{self.words[-1]}"
