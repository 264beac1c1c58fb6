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
from readalong.redis.facade import RedisFacade
from readalong.store.idempotency import IdempotencyStore
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.queue import Queue
from readalong.store.worker_registry import WorkerRegistry
from tests.support.clients import client_of
from tests.support.environment import USER_PREFIXES
from tests.support.loop import pytest_pyfunc_call
from tests.support.servers import RedisServer, redis_binary, valkey_binary

__all__ = ["pytest_pyfunc_call"]

_ROOT = Path(__file__).parents[1]

#: Examples have no deadline: the machine decides how long one takes.
hypothesis.settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.settings.load_profile("any machine")

#: The slowest modules start first. A slow module that starts last would keep one process busy while the others idle.
_FIRST = (
    "tests/fuzz/test_api.py",
    "tests/chaos/test_chaos.py",
    "tests/api/fanout/test_bounded.py",
    "tests/cli/test_demo.py",
    "tests/e2e/",
    "tests/page/",
    "tests/docs/",
    "tests/bench/test_bench.py",
    "tests/clients/test_durable_streams.py",
    "tests/api/http/test_bad_clients.py",
    "tests/api/test_server.py",
)

#: `make test` leaves these folders, and each test marked `slow`, to `make test-all`.
_SLOW = ("tests/bench/", "tests/chaos/", "tests/clients/", "tests/testing/", "tests/fuzz/")

_BINARIES = {"valkey": valkey_binary(), "redis": redis_binary()}
#: The brands of `redis_server`; a test runs once for each. `make test-all` adds the other brand where it is on the
#: PATH. A module whose claims depend on no brand sets `pytestmark = on_valkey`.
_BRANDS: list[Any] = ["valkey", *([pytest.param("redis", marks=pytest.mark.slow)] if _BINARIES["redis"] else [])]


class _Servers(dict[str, RedisServer]):
    """Servers by brand. Each starts at its first use and ends with `stack`."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __missing__(self, brand: str) -> RedisServer:
        self[brand] = server = self._stack.enter_context(RedisServer.start(binary=_BINARIES[brand]))
        return server


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skips the import of the folders of `_SLOW` when no slow test is wanted."""
    return True if config.option.markexpr == "not slow" and _place(collection_path).startswith(_SLOW) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the folders of `_SLOW`, and sorts: the slow tests come last, in each tier the modules of `_FIRST` first."""
    for item in items:
        if _place(item.path).startswith(_SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(
        key=lambda item: (
            item.get_closest_marker("slow") is not None,
            [not item.nodeid.startswith(name) for name in _FIRST],
        )
    )


def pytest_collection_finish() -> None:
    """Freezes the objects that exist before the first test. They live to the end, and some tests collect often."""
    gc.collect()
    gc.freeze()


def _place(path: Path) -> str:
    """The path of a file or folder in the project, with slashes."""
    return f"{path.relative_to(_ROOT).as_posix()}/" if path.is_dir() else path.relative_to(_ROOT).as_posix()


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hides the user's keys and settings from the tests and from the processes that tests start.

    The machine's certificate authorities are hidden as well: loading them costs each model client 35 ms of CPU, and no
    test uses TLS.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_FILE", raising=False)
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("authorities")))
        for name in list(os.environ):
            if name.startswith(USER_PREFIXES):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_signals() -> None:
    """Installs handlers for signals that a background run ignores; child processes would inherit the ignoring."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session")
def redis_servers() -> Iterator[dict[str, RedisServer]]:
    """The servers of this run by brand: the embedded Valkey, and a Redis if one is on the PATH."""
    with ExitStack() as stack:
        yield _Servers(stack)


@pytest.fixture(params=_BRANDS)
def redis_server(request: pytest.FixtureRequest, redis_servers: dict[str, RedisServer]) -> RedisServer:
    """An empty server; the test runs once for each brand. A test may kill it: it is restarted afterwards.

    Later tests share it. A test that changes its settings starts a server of its own (`RedisServer.start`).
    """
    server = redis_servers[request.param]
    if not server.running:
        server.restart()
    server.command("FLUSHALL")
    server.command("SCRIPT", "FLUSH")
    return server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty server; the test runs once for each brand."""
    return redis_server.url


@pytest.fixture
def resources() -> AsyncExitStack:
    """A stack of resources that closes inside the test's event loop: `await resources.enter_async_context(...)`."""
    return AsyncExitStack()


@pytest.fixture
def fake_redis(resources: AsyncExitStack) -> fakeredis.FakeAsyncRedis:
    """A client of an empty in-process Redis with Lua, for tests whose subject is not Redis."""
    client = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(), decode_responses=False)
    resources.push_async_callback(client.aclose)
    return client


@pytest.fixture
def redis(settings: Settings, resources: AsyncExitStack) -> ArqRedis:
    """A client of the server that the folder's `settings` name."""
    return client_of(settings, resources)


@pytest.fixture
def log(redis: ArqRedis, settings: Settings) -> Log:
    return Log(RedisFacade(redis, settings), settings)


@pytest.fixture
def queue(redis: ArqRedis, settings: Settings, resources: AsyncExitStack) -> Queue:
    queue = Queue(RedisFacade(redis, settings), settings)
    resources.push_async_callback(queue.close)
    return queue


@pytest.fixture
def index(redis: ArqRedis, settings: Settings) -> JobIndex:
    return JobIndex(RedisFacade(redis, settings), settings)


@pytest.fixture
def idempotency(redis: ArqRedis, settings: Settings) -> IdempotencyStore:
    return IdempotencyStore(RedisFacade(redis, settings), settings)


@pytest.fixture
def registry(redis: ArqRedis, settings: Settings) -> WorkerRegistry:
    return WorkerRegistry(RedisFacade(redis, settings), settings)
