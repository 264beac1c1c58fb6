"""Whether the client of a request is still connected."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from readalong.api.http.client_presence import check_presence


async def test_on_another_server_a_client_s_going_is_asked_for() -> None:
    """Without a connection of our own protocol, ASGI's `receive` reports the disconnect."""

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def silent() -> dict[str, Any]:
        never: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        return await never

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    await check_presence(Request(scope, silent))
    with pytest.raises(ClientDisconnect):
        await check_presence(Request(scope, gone))
