"""Fixtures for all tests. Async tests need no mark: the hook below runs them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack

import fakeredis
import pytest
from arq.connections import ArqRedis

from readalong.index import Index
from readalong.log import Log
from readalong.queue import Queue
from readalong.settings import Settings
from tests.support.clients import client_of
from tests.support.loop import pytest_pyfunc_call
from tests.support.servers import RedisServer, redis_binary, valkey_binary

__all__ = ["pytest_pyfunc_call"]

#: What takes longest begins first: the last module to begin would keep one process busy, with nothing left for others.
_FIRST = (
    "tests/chaos/test_chaos.py",
    "tests/api/test_bounded.py",
    "tests/cli/test_demo.py",
    "tests/e2e/",
    "tests/page/",
)

_BINARIES = {"valkey": valkey_binary(), "redis": redis_binary()}
_BRANDS = [brand for brand, binary in _BINARIES.items() if binary is not None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the modules of `_FIRST` first, all in their order."""
    items.sort(key=lambda item: [not item.nodeid.startswith(name) for name in _FIRST])


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Iterator[None]:
    """No test, and no process that a test starts, may see the real key or settings of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("READALONG_", "OPENAI_", "AZURE_OPENAI_")):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def redis_servers() -> Iterator[dict[str, RedisServer]]:
    """The servers of this run by brand: the embedded Valkey, and a Redis where one is on the PATH."""
    with ExitStack() as stack:
        yield {brand: stack.enter_context(RedisServer.start(binary=_BINARIES[brand])) for brand in _BRANDS}


@pytest.fixture(params=_BRANDS)
def redis_server(request: pytest.FixtureRequest, redis_servers: dict[str, RedisServer]) -> RedisServer:
    """An empty server; the test runs once for each brand. Whoever kills it finds it restarted afterwards.

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
def index(redis: ArqRedis, settings: Settings) -> Index:
    return Index(redis, settings)
