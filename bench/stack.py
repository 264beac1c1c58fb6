"""The processes of a run: Valkey, the clock model, a worker, an API, the direct endpoint, stock arq."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from bench.child import ROLES
from tests.support.servers import RedisServer, free_port

_ROOT: Final = Path(__file__).parents[1]
_READY_WITHIN: Final = 30.0
_STOP_WITHIN: Final = 10.0


class BenchError(Exception):
    """A process did not start, or a measurement did not see what it must see."""


class Stack:
    """Everything that is measured, each a process on 127.0.0.1: `with Stack.start() as stack`.

    The children are in sessions of their own, so that a Ctrl-C reaches this process alone, which then stops them.
    """

    def __init__(self, redis: RedisServer, resources: ExitStack) -> None:
        self.redis = redis
        self.pids: dict[str, int] = {"valkey": redis.pid}
        self.ports: dict[str, int] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._resources = resources
        self._environment = _clean_environment() | {
            "READALONG_REDIS_URL": redis.url,
            # A run that is broken off shall not wait for its streams.
            "READALONG_DRAIN_TIMEOUT": "0",
            "OPENAI_API_KEY": "bench",
        }

    @classmethod
    def start(cls) -> Self:
        """Starts all but stock arq and waits until each answers. Raises BenchError, with the end of its log."""
        with ExitStack() as resources:
            stack = cls(resources.enter_context(RedisServer.start()), resources)
            model = resources.enter_context(stack.child("clock_model"))
            stack._environment["OPENAI_BASE_URL"] = f"http://127.0.0.1:{model}/v1"
            for role in ("worker", "api", "direct"):
                resources.enter_context(stack.child(role))
            stack.wait("clock_model", _accepts)
            stack.wait("api", lambda port: _answers(port, "/readyz"))  # which says that the worker is there
            stack.wait("direct", lambda port: _answers(port, "/healthz"))
            stack._resources = resources.pop_all()
        return stack

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    @contextmanager
    def child(self, role: str) -> Iterator[int]:
        """Runs a role of `bench.child` for the length of the block; yields its port at once."""
        assert role in ROLES
        port = free_port()
        with self._log(role).open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.child", role, str(port)],
                cwd=_ROOT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._children[role] = process
            self.pids[role], self.ports[role] = process.pid, port
            yield port
        finally:
            del self._children[role], self.pids[role], self.ports[role]
            _stop(process)

    def wait(self, role: str, ready: Callable[[int], bool]) -> None:
        """Waits until `ready(port)`. Raises BenchError, with the end of a log, when a child ends or it takes 30 s."""
        deadline = time.monotonic() + _READY_WITHIN
        while not ready(self.ports[role]):
            ended = [name for name, process in self._children.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                culprit = ended[0] if ended else role
                raise BenchError(f"{culprit} did not start: {self._log(culprit).read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def _log(self, role: str) -> Path:
        # The server's own folder: it goes with the server, also if this process is killed.
        return self.redis.dir / f"{role}.log"


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


def _clean_environment() -> dict[str, str]:
    """No key and no setting of whoever runs this reaches what is measured."""
    ours = ("READALONG_", "OPENAI_", "AZURE_OPENAI_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
