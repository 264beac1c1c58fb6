"""The whole of readalong as real processes: APIs, workers, the demo model, Redis, over real sockets and signals."""

from __future__ import annotations

import json
import os
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
from tests.support.history import appended
from tests.support.processes import READY_WITHIN, TAIL, WORKER_CODE, Api, Process
from tests.support.proxy import Proxy, Route
from tests.support.servers import RedisServer

SECRET: Final = "sk-never-to-be-seen-4f1c9a7e"
"""The model's API key: recognisable, so that a test can look for it everywhere."""


#: Short, so that nothing is waited for longer than the tests' claims need; what would break a job of a process that a
#: busy machine lets wait is ten times what an idle one needs.
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

#: How each type of value is read whole.
_READ: Final[dict[str, Callable[[str], list[str]]]] = {
    "string": lambda key: ["GET", key],
    "hash": lambda key: ["HGETALL", key],
    "list": lambda key: ["LRANGE", key, "0", "-1"],
    "zset": lambda key: ["ZRANGE", key, "0", "-1", "WITHSCORES"],
    "stream": lambda key: ["XRANGE", key, "-", "+"],
}


class Stack:
    """Use it as a context manager; everything ends with it, and with the process that started it, however that dies.

    `aof`: Redis keeps what it was told over a `redis.restart()`. `settings` go over SETTINGS and into all processes,
    `settings_of` a process by its name over these. `model_url`: use another model than the demo model, which writes
    its `journal` if it is given one; `model`: the module that serves it. `link`: the port by which a process, by its
    name, reaches Redis' port; `model_link`: the port by which a worker reaches the demo model's. `routed`: APIs reach
    Redis over one Route, workers over another.
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
        link: Callable[[str, int], int] | None = None,
        model_link: Callable[[str, int], int] | None = None,
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
        self._environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("READALONG_", "OPENAI_", "AZURE_OPENAI_")) and not name.lower().endswith("_proxy")
        }
        self._settings_of = settings_of or {}
        self._link = link
        self._model_link = model_link
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
        """The first API."""
        return self.apis[0].url

    @property
    def model_url(self) -> str:
        """The model's base URL, with `/v1`."""
        return self._model_url or self.model.line(r"demo model on (\S+)")

    @property
    def processes(self) -> list[Process]:
        return [self.model, *self.apis, *self.workers]

    def heal(self) -> None:
        """Brings back what a test killed, stopped or started otherwise, and empties Redis; waits until all is ready."""
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
        # Signs of life that are true may stay, lest we wait for the next ones before every test; a dead worker's not.
        kept = self.keys.worker("")[:-1] if whole else "none"
        names = [name for name in self.key_names() if not name.startswith(kept)]
        if names:
            self.redis.command("UNLINK", *names)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Returns when every API says that Redis and all running workers are there."""
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
        """The worker with this process id."""
        return next(worker for worker in self.workers if worker.pid == pid)

    def log_of(self, job_id: str) -> list[Entry]:
        """A job's log, straight from Redis, each event as it was appended."""
        rows = self.redis.command("XRANGE", self.keys.events(job_id), "-", "+")
        return appended(rows)

    def hash_of(self, job_id: str) -> dict[str, str]:
        """A job's hash, straight from Redis."""
        found: dict[str, str] = self.redis.command("HGETALL", self.keys.job(job_id))
        return found

    def dump(self) -> dict[str, str]:
        """All that Redis holds, by key. Fails for a value that is no text."""
        kinds = {key: self.redis.command("TYPE", key) for key in self.key_names()}
        # A key that has expired since it was named is no more.
        values = {key: self.redis.command(*_READ[kind](key)) for key, kind in kinds.items() if kind != "none"}
        return {key: str(value) for key, value in values.items() if value is not None}

    def key_names(self) -> list[str]:
        """All keys of Redis, in order."""
        names: list[str] = self.redis.command("KEYS", "*")
        return sorted(names)

    def generations(self, question: str) -> list[dict[str, Any]]:
        """The demo model's requests whose last message is `question`: the `body` of each, and of its stream `state`
        (None: it answered without one), `tokens`, `text`."""
        stats = _get(self.model_url.removesuffix("/v1") + "/stats")
        return [
            {"state": None, **request, **stats["streams"].get(request["id"], {})}
            for request in stats["requests"]
            if request["body"] and request["body"]["messages"][-1]["content"] == question
        ]

    def report(self) -> str:
        """The end of what each process has written."""
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
            port = self.redis.port if self._link is None else self._link(name, self.redis.port)
        url = {"READALONG_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
        return {**self._environment, **url, **self._settings, **self._settings_of.get(name, {})}

    def _access_of(self, name: str) -> dict[str, str]:
        url = self.model_url
        if self._model_link is not None:
            parts = urlsplit(url)
            assert parts.port is not None
            url = parts._replace(netloc=f"127.0.0.1:{self._model_link(name, parts.port)}").geturl()
        return {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": SECRET}

    def _end(self) -> None:
        # Tests say how processes end when they are asked to; here that would only take time.
        for process in self.processes:
            process.kill()


def redis_cli(server: RedisServer, *words: str) -> str:
    """What the redis-cli on the PATH prints. Raises FileNotFoundError when there is none (see `has_redis_cli`)."""
    line = ["redis-cli", "-h", "127.0.0.1", "-p", str(server.port), *words]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout.rstrip("\n")


def has_redis_cli() -> bool:
    return shutil.which("redis-cli") is not None


def _start_guard(folder: Path) -> subprocess.Popen[bytes]:
    """The leader of the stack's process group. It kills the group when our end of its pipe closes: a test run that is
    killed outright leaves nothing behind."""
    line = ["/bin/sh", "-c", 'read _; rm -rf "$1"; kill -9 0', "guard", str(folder)]
    return subprocess.Popen(line, stdin=subprocess.PIPE, process_group=0)


def _end_guard(guard: subprocess.Popen[bytes]) -> None:
    guard.kill()
    guard.wait()
    if guard.stdin is not None:
        guard.stdin.close()


def _ready_workers(url: str) -> int:
    """How many workers an API knows of; -1 if it is not ready."""
    try:
        return int(_get(f"{url}/readyz")["workers"])
    except OSError:  # not listening yet, or a 503
        return -1


def _get(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as response:
        return json.load(response)
