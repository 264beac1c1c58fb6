"""Redis clients that close in the event loop that used them."""

from __future__ import annotations

from contextlib import AsyncExitStack

from arq.connections import ArqRedis

from readalong.core.settings import Settings
from readalong.redis.client import connect


def client_of(settings: Settings, resources: AsyncExitStack, *, max_connections: int = 64) -> ArqRedis:
    """Returns a client of the settings' server. It closes with the resources, after the test."""
    client = connect(settings, max_connections=max_connections)
    resources.push_async_callback(client.aclose)
    return client
