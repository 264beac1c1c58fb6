"""Fixtures: an empty Redis, short settings, and a log, a queue, an index and a hub on it."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from arq.connections import ArqRedis

from readalong.connection import connect
from readalong.index import Index
from readalong.log import Log
from readalong.queue import Queue
from readalong.settings import Settings
from tests.api.serving import short_settings


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return short_settings(redis_url)


@pytest.fixture
def redis(settings: Settings, resources: AsyncExitStack) -> ArqRedis:
    client = connect(settings)
    resources.push_async_callback(client.aclose)
    return client


@pytest.fixture
def log(redis: ArqRedis, settings: Settings) -> Log:
    return Log(redis, settings)


@pytest.fixture
def queue(redis: ArqRedis, settings: Settings) -> Queue:
    return Queue(redis, settings)


@pytest.fixture
def index(redis: ArqRedis, settings: Settings) -> Index:
    return Index(redis, settings)
