"""Fixtures: an empty Valkey, settings with short times, the demo model, and the API's view of it all."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis

from readalong.core.settings import Settings
from tests.support.servers import RedisServer
from tests.worker.helpers import Backend, settings_for


@pytest.fixture
def redis_server(redis_servers: dict[str, RedisServer]) -> RedisServer:
    """The embedded Valkey alone: the tests of the scripts cover the differences between the brands."""
    server = redis_servers["valkey"]
    if not server.running:
        server.restart()
    server.command("FLUSHALL")
    return server


@pytest.fixture
def settings(redis_server: RedisServer) -> Settings:
    return settings_for(redis_server.url)


@pytest.fixture
def backend(settings: Settings, redis: ArqRedis) -> Backend:
    return Backend(settings, redis)
