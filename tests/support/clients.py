"""Redis clients that are closed in the loop that they were used in."""

from __future__ import annotations

from contextlib import AsyncExitStack

from arq.connections import ArqRedis

from readalong.core.settings import Settings
from readalong.redis.client import connect


def client_of(settings: Settings, resources: AsyncExitStack, *, max_connections: int = 64) -> ArqRedis:
    """A client of the settings' server; it is closed with the resources, after the test."""
    client = connect(settings, max_connections=max_connections)
    resources.push_async_callback(client.aclose)
    return client
