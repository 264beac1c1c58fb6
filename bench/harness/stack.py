"""The processes of a run: Valkey always, the others while they are measured."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from bench.harness.child import ROLES
from bench.harness.errors import BenchError
from tests.support.environment import clean_environment
from tests.support.servers import RedisServer, free_port

_ROOT: Final = Path(__file__).parents[2]
_READY_WITHIN: Final = 30.0
_STOP_WITHIN: Final = 10.0
#: The path of another server program than the embedded Valkey.
_SERVER: Final = "READALONG_BENCH_REDIS_SERVER"


class Stack:
    """The measured processes, each on 127.0.0.1: `with Stack.start() as stack`.

    The children have their own sessions, so that a Ctrl-C reaches this process only, which then stops them.
    """

    def __init__(self, redis: RedisServer, resources: ExitStack) -> None:
        self.redis = redis
        self.pids: dict[str, int] = {"valkey": redis.pid}
        self.ports: dict[str, int] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._resources = resources
        self._environment = clean_environment() | {
            "READALONG_REDIS_URL": redis.url,
            # An interrupted run does not wait for its streams.
            "READALONG_DRAIN_TIMEOUT": "0",
            "OPENAI_API_KEY": "bench",
        }

    @classmethod
    def start(cls) -> Self:
        """Starts the shared server. Raises BenchError with the end of its log."""
        with ExitStack() as resources:
            redis = resources.enter_context(RedisServer.start(binary=os.environ.get(_SERVER)))
            return cls(redis, resources.pop_all())

    @contextmanager
    def pipeline(self) -> Iterator[None]:
        """Runs the model, a worker, an API and the direct endpoint for the length of the block."""
        with ExitStack() as resources:
            model = resources.enter_context(self.child("clock_model"))
            self._environment["OPENAI_BASE_URL"] = f"http://127.0.0.1:{model}/v1"
            for role in ("worker", "api", "direct"):
                resources.enter_context(self.child(role))
            self.wait("clock_model", accepts)
            self.wait("api", lambda port: answers(port, "/readyz"))  # the API reports the worker
            self.wait("direct", lambda port: answers(port, "/healthz"))
            yield

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    @contextmanager
    def child(self, role: str, name: str = "") -> Iterator[int]:
        """Runs a role of `bench.harness.child` for the length of the block; yields its port at once. `name`: of one of
        several processes of a role."""
        assert role in ROLES
        port = free_port()
        with self.process(name or role, [sys.executable, "-m", "bench.harness.child", role, str(port)], port):
            yield port

    @contextmanager
    def process(
        self, name: str, words: Sequence[str], port: int, environment: dict[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Runs a command that listens on `port` for the length of the block."""
        with self._log(name).open("ab") as output:
            process = subprocess.Popen(
                words,
                cwd=_ROOT,
                env=self._environment | (environment or {}),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._children[name] = process
            self.pids[name], self.ports[name] = process.pid, port
            yield process
        finally:
            del self._children[name], self.pids[name], self.ports[name]
            _stop(process)

    @contextmanager
    def stopped(self, *names: str) -> Iterator[None]:
        """Halts processes for the length of the block, so that their polls are not measured with another's work.

        Shorter than a lease: a worker that is halted for longer counts as dead.
        """
        pids = [self.pids[name] for name in names]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def wait(self, name: str, ready: Callable[[int], bool]) -> None:
        """Waits until `ready(port)`. Raises BenchError with the end of a log when a child ends or after 30 s."""
        deadline = time.monotonic() + _READY_WITHIN
        while not ready(self.ports[name]):
            ended = [child for child, process in self._children.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                culprit = ended[0] if ended else name
                raise BenchError(f"{culprit} did not start: {self._log(culprit).read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def folder(self, name: str) -> Path:
        """Returns a folder for a process. It goes with the server's own, even if this process is killed."""
        path = self.redis.dir / name
        path.mkdir(exist_ok=True)
        return path

    def _log(self, name: str) -> Path:
        return self.redis.dir / f"{name}.log"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        if process.stdin is not None:
            process.stdin.close()


def accepts(port: int) -> bool:
    """Whether a server listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def answers(port: int, path: str) -> bool:
    """Whether a GET returns 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
