"""Fixtures for all tests. Async tests need no mark: the hook below runs them."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import fakeredis
import hypothesis
import pytest
from arq.connections import ArqRedis
from hypothesis import HealthCheck

from readalong.core.settings import Settings
from readalong.store.idempotency import IdempotencyStore
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.queue import Queue
from readalong.store.worker_registry import WorkerRegistry
from tests.support.clients import client_of
from tests.support.loop import pytest_pyfunc_call
from tests.support.servers import RedisServer, redis_binary, valkey_binary

__all__ = ["pytest_pyfunc_call"]

_ROOT = Path(__file__).parents[1]

#: How long an example takes, or how long it takes to draw one, is a matter of the machine.
hypothesis.settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.settings.load_profile("any machine")

#: What takes longest begins first: the last module to begin would keep one process busy, with nothing left for others.
_FIRST = (
    "tests/chaos/test_chaos.py",
    "tests/api/fanout/test_bounded.py",
    "tests/cli/test_demo.py",
    "tests/e2e/",
    "tests/page/",
    "tests/api/http/test_bad_clients.py",
    "tests/api/test_server.py",
)

#: The folders that `make test` leaves to `make test-all`, as it does each test with the mark `slow`.
_SLOW = ("tests/bench/", "tests/chaos/", "tests/testing/", "tests/fuzz/")

_BINARIES = {"valkey": valkey_binary(), "redis": redis_binary()}
#: What `redis_server` is, a test for each. The other brand, where it is on the PATH, is left to `make test-all`, and a
#: module whose claims no brand could break does without: `pytestmark = on_valkey`.
_BRANDS: list[Any] = ["valkey", *([pytest.param("redis", marks=pytest.mark.slow)] if _BINARIES["redis"] else [])]


class _Servers(dict[str, RedisServer]):
    """Servers by brand, each started when it is first asked for; they end with `stack`."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __missing__(self, brand: str) -> RedisServer:
        self[brand] = server = self._stack.enter_context(RedisServer.start(binary=_BINARIES[brand]))
        return server


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where no slow test is wanted, the folders of `_SLOW` are not even imported."""
    return True if config.option.markexpr == "not slow" and _place(collection_path).startswith(_SLOW) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the folders of `_SLOW`, and puts the modules of `_FIRST` first, all in their order."""
    for item in items:
        if _place(item.path).startswith(_SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: [not item.nodeid.startswith(name) for name in _FIRST])


def pytest_collection_finish() -> None:
    """What is there before the first test stays to the end: no collection need look at it again, and some tests collect
    often."""
    gc.collect()
    gc.freeze()


def _place(path: Path) -> str:
    """Where a file or folder is in the project, with slashes."""
    return f"{path.relative_to(_ROOT).as_posix()}/" if path.is_dir() else path.relative_to(_ROOT).as_posix()


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test, and no process that a test starts, may see the real key or settings of the person who runs them.

    Nor do they load the machine's certificate authorities: that takes each client of a model 35 ms of CPU, and no test
    speaks TLS.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_FILE", raising=False)
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("authorities")))
        for name in list(os.environ):
            if name.startswith(("READALONG_", "OPENAI_", "AZURE_OPENAI_")):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_signals() -> None:
    """A run in the background ignores these, and so would what it starts; with a handler here it does not."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session")
def redis_servers() -> Iterator[dict[str, RedisServer]]:
    """The servers of this run by brand: the embedded Valkey, and a Redis where one is on the PATH."""
    with ExitStack() as stack:
        yield _Servers(stack)


@pytest.fixture(params=_BRANDS)
def redis_server(request: pytest.FixtureRequest, redis_servers: dict[str, RedisServer]) -> RedisServer:
    """An empty server; the test runs once for each brand. A test that kills it finds it restarted afterwards.

    Shared with the tests that follow: change its settings only on a server of your own (`RedisServer.start`).
    """
    server = redis_servers[request.param]
    if not server.running:
        server.restart()
    server.command("FLUSHALL")
    server.command("SCRIPT", "FLUSH")
    return server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty server: the test runs once for each brand."""
    return redis_server.url


@pytest.fixture
def resources() -> AsyncExitStack:
    """Closed inside the test's own event loop, after the test: `await resources.enter_async_context(...)`."""
    return AsyncExitStack()


@pytest.fixture
def fake_redis(resources: AsyncExitStack) -> fakeredis.FakeAsyncRedis:
    """A client of an empty in-process Redis of its own, with Lua, for where Redis is not the subject."""
    client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(), decode_responses=False)
    resources.push_async_callback(client.aclose)
    return client


@pytest.fixture
def redis(settings: Settings, resources: AsyncExitStack) -> ArqRedis:
    """A client of the server that the folder's `settings` name."""
    return client_of(settings, resources)


@pytest.fixture
def log(redis: ArqRedis, settings: Settings) -> Log:
    return Log(redis, settings)


@pytest.fixture
def queue(redis: ArqRedis, settings: Settings, resources: AsyncExitStack) -> Queue:
    queue = Queue(redis, settings)
    resources.push_async_callback(queue.close)
    return queue


@pytest.fixture
def index(redis: ArqRedis, settings: Settings) -> JobIndex:
    return JobIndex(redis, settings)


@pytest.fixture
def idempotency(redis: ArqRedis, settings: Settings) -> IdempotencyStore:
    return IdempotencyStore(redis, settings)


@pytest.fixture
def registry(redis: ArqRedis, settings: Settings) -> WorkerRegistry:
    return WorkerRegistry(redis, settings)
