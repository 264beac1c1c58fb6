"""The whole of readalong as real processes with real sockets and signals: APIs, workers, the demo model, Redis."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from readalong.core.keys import Keys
from tests.support.client import Entry
from tests.support.environment import clean_environment
from tests.support.history import appended
from tests.support.processes import READY_WITHIN, TAIL, WORKER_CODE, Api, Process
from tests.support.proxy import Proxy, Route
from tests.support.servers import RedisServer

SECRET: Final = "sk-never-to-be-seen-4f1c9a7e"
"""The model's API key: recognisable, so that a test can search for it everywhere."""


#: Short, so that tests wait for no longer than their claims need. Limits that would fail a job of a process on a busy
#: machine are ten times the need of an idle one.
SETTINGS: Final = {
    "READALONG_MODEL": "demo-fast",
    "READALONG_LEASE": "4",
    "READALONG_SWEEP_INTERVAL": "0.5",
    "READALONG_POLL_INTERVAL": "0.5",
    "READALONG_CANCEL_POLL": "0.1",
    "READALONG_MAX_ATTEMPTS": "2",
    "READALONG_MODEL_RETRIES": "1",
    "READALONG_MODEL_PATIENCE": "0",
    "READALONG_DRAIN_TIMEOUT": "30",
    "READALONG_REDIS_TIMEOUT": "10",
    "READALONG_HUB_HEARTBEAT": "0.5",
    "READALONG_FEED_LINGER": "0.5",
}

#: The command that reads each type of value whole.
_READ: Final[dict[str, Callable[[str], list[str]]]] = {
    "string": lambda key: ["GET", key],
    "hash": lambda key: ["HGETALL", key],
    "list": lambda key: ["LRANGE", key, "0", "-1"],
    "zset": lambda key: ["ZRANGE", key, "0", "-1", "WITHSCORES"],
    "stream": lambda key: ["XRANGE", key, "-", "+"],
}


class Stack:
    """A context manager. All processes end with it, and with the process that started it, even after a SIGKILL.

    `aof`: Redis keeps its data over a `redis.restart()`. `settings` go over SETTINGS and into all processes;
    `settings_of` go over these, by process name. `model_url`: another model instead of the demo model, which writes its
    `journal` if one is given; `model`: the module that serves the model. `redis_route`: returns the port by which a
    named process reaches Redis' port; `model_route`: returns the port by which a worker reaches the demo model's.
    `routed`: APIs reach Redis over one Route, workers over another.
    """

    def __init__(
        self,
        *,
        apis: int = 1,
        workers: int = 1,
        aof: bool = False,
        settings: Mapping[str, str] | None = None,
        settings_of: Mapping[str, Mapping[str, str]] | None = None,
        model_url: str | None = None,
        model: str = "readalong.testing",
        routed: bool = False,
        journal: Path | None = None,
        redis_route: Callable[[str, int], int] | None = None,
        model_route: Callable[[str, int], int] | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="readalong-stack-"))
        self.redis: RedisServer
        self.apis: list[Api] = []
        self.workers: list[Process] = []
        self.keys = Keys()
        self._counts = (apis, workers)
        self._aof = aof
        self._routed = routed
        self.api_route: Route
        self.worker_route: Route
        self._settings = {**SETTINGS, **(settings or {})}
        self._environment = clean_environment()
        self._settings_of = settings_of or {}
        self._redis_route = redis_route
        self._model_route = model_route
        words = ["-m", model, "--port", "0", *(["--journal", str(journal)] if journal else [])]
        self.model = Process("model", words, self._environment, self.folder)
        self._model_url = model_url
        self._exits = ExitStack()
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            exits.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self._guard = _start_guard(self.folder)
            exits.callback(_end_guard, self._guard)
            exits.callback(self._end)
            self.redis = exits.enter_context(RedisServer.start(aof=self._aof))
            if self._routed:
                self.api_route, self.worker_route = (exits.enter_context(Route(self.redis.port)) for _ in range(2))
            self._start(self._guard.pid)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    @property
    def urls(self) -> list[str]:
        return [api.url for api in self.apis]

    @property
    def url(self) -> str:
        """The URL of the first API."""
        return self.apis[0].url

    @property
    def model_url(self) -> str:
        """The model's base URL, with `/v1`."""
        return self._model_url or self.model.line(r"demo model on (\S+)")

    @property
    def processes(self) -> list[Process]:
        return [self.model, *self.apis, *self.workers]

    def heal(self) -> None:
        """Restores what a test killed, stopped or started otherwise, empties Redis, and waits until all is ready."""
        if not self.redis.running:
            self.redis.restart()
        if self._routed:
            for route in (self.api_route, self.worker_route):
                route.do(Proxy.mend)
        whole = True
        for process in self.processes:
            process.mark()
            if process.running:
                process.cont()
            if not process.usual and (process is not self.model or self._model_url is None):
                process.restart()
                whole = False
        # Heartbeats of live workers may stay: each test would otherwise wait for the next ones. Those of dead workers
        # go.
        kept = self.keys.worker("")[:-1] if whole else "none"
        names = [name for name in self.key_names() if not name.startswith(kept)]
        if names:
            self.redis.command("UNLINK", *names)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Returns when every API reports that Redis and all running workers are there."""
        wanted = sum(worker.running for worker in self.workers)
        deadline = time.monotonic() + READY_WITHIN
        for api in self.apis:
            url = api.url
            while _ready_workers(url) < wanted:
                for process in (api, *self.workers):
                    assert process.running, f"{process.name} exited with {process.code}:\n{process.output[-TAIL:]}"
                assert time.monotonic() < deadline, f"not ready:\n{self.report()}"
                time.sleep(0.02)

    def worker_of(self, pid: int) -> Process:
        """Returns the worker with this process id."""
        return next(worker for worker in self.workers if worker.pid == pid)

    def log_of(self, job_id: str) -> list[Entry]:
        """Returns a job's log from Redis, with each event as it was appended."""
        rows = self.redis.command("XRANGE", self.keys.events(job_id), "-", "+")
        return appended(rows)

    def hash_of(self, job_id: str) -> dict[str, str]:
        """Returns a job's hash from Redis."""
        found: dict[str, str] = self.redis.command("HGETALL", self.keys.job(job_id))
        return found

    def dump(self) -> dict[str, str]:
        """Returns all data of Redis by key. Fails for a value that is no text."""
        kinds = {key: self.redis.command("TYPE", key) for key in self.key_names()}
        # A key may expire between its listing and its read.
        values = {key: self.redis.command(*_READ[kind](key)) for key, kind in kinds.items() if kind != "none"}
        return {key: str(value) for key, value in values.items() if value is not None}

    def key_names(self) -> list[str]:
        """Returns all keys of Redis, sorted."""
        names: list[str] = self.redis.command("KEYS", "*")
        return sorted(names)

    def generations(self, question: str) -> list[dict[str, Any]]:
        """Returns the demo model's requests whose last message is `question`: the `body` of each, and `state` (None:
        answered without a stream), `tokens` and `text` of its stream.
        """
        stats = _get(self.model_url.removesuffix("/v1") + "/stats")
        return [
            {"state": None, **request, **stats["streams"].get(request["id"], {})}
            for request in stats["requests"]
            if request["body"] and request["body"]["messages"][-1]["content"] == question
        ]

    def report(self) -> str:
        """Returns the end of each process's output."""
        return "\n".join(
            f"--- {process.name} (pid {process.pid}, exit code {process.code})\n{process.news[-TAIL:]}"
            for process in self.processes
            if process.log.exists()
        )

    def _start(self, group: int) -> None:
        apis, workers = self._counts
        names = [f"api-{number}" for number in range(apis)]
        self.apis = [Api(name, self._environment_of(name), self.folder) for name in names]
        if self._model_url is None:
            self.model.start(group)
        for api in self.apis:
            api.start(group)
        names = [f"worker-{number}" for number in range(workers)]
        self.workers = [
            Process(name, ["-c", WORKER_CODE], self._environment_of(name) | self._access_of(name), self.folder)
            for name in names
        ]
        for worker in self.workers:
            worker.start(group)
        self.wait_ready()

    def _environment_of(self, name: str) -> dict[str, str]:
        if self._routed:
            port = (self.api_route if name.startswith("api") else self.worker_route).do(lambda proxy: proxy.port)
        else:
            port = self.redis.port if self._redis_route is None else self._redis_route(name, self.redis.port)
        url = {"READALONG_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
        return {**self._environment, **url, **self._settings, **self._settings_of.get(name, {})}

    def _access_of(self, name: str) -> dict[str, str]:
        url = self.model_url
        if self._model_route is not None:
            parts = urlsplit(url)
            assert parts.port is not None
            url = parts._replace(netloc=f"127.0.0.1:{self._model_route(name, parts.port)}").geturl()
        return {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": SECRET}

    def _end(self) -> None:
        # Other tests cover the orderly end; here it would only take time.
        for process in self.processes:
            process.kill()


def redis_cli(server: RedisServer, *words: str) -> str:
    """Returns the output of the redis-cli on the PATH.

    Raises FileNotFoundError when there is none (see `has_redis_cli`).
    """
    line = ["redis-cli", "-h", "127.0.0.1", "-p", str(server.port), *words]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout.rstrip("\n")


def has_redis_cli() -> bool:
    return shutil.which("redis-cli") is not None


def _start_guard(folder: Path) -> subprocess.Popen[bytes]:
    """Starts the leader of the stack's process group.

    It kills the group when our end of its pipe closes, so that a test run that gets SIGKILL leaves nothing behind.
    """
    line = ["/bin/sh", "-c", 'read _; rm -rf "$1"; kill -9 0', "guard", str(folder)]
    return subprocess.Popen(line, stdin=subprocess.PIPE, process_group=0)


def _end_guard(guard: subprocess.Popen[bytes]) -> None:
    guard.kill()
    guard.wait()
    if guard.stdin is not None:
        guard.stdin.close()


def _ready_workers(url: str) -> int:
    """Returns the number of workers that an API knows; -1 if the API is not ready."""
    try:
        return int(_get(f"{url}/readyz")["workers"])
    except OSError:  # not listening yet, or a 503
        return -1


def _get(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as response:
        return json.load(response)
