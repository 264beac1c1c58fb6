"""A real nginx serves the API under a path, configured as docs/operations.md says."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import httpx2
import pytest

from readalong.store.log import Log
from tests.api.helpers import Player, check_stream
from tests.api.http.test_root_path import BODY, follow
from tests.api.serving import Stream, a_site, on_valkey, short_settings
from tests.support.nginx import nginx
from tests.support.waiting import WITHIN

pytestmark = [on_valkey, pytest.mark.slow]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_all_holds_behind_nginx_with_a_prefix(redis_url: str, log: Log, version: str) -> None:
    """Addresses, a same-origin page, an unbuffered stream, and a client that disconnects. By default nginx speaks
    HTTP/1.0 to the API."""
    async with a_site(short_settings(redis_url, root_path="/chat")) as site:
        with nginx(site.port, "/chat", version) as url:
            async with httpx2.AsyncClient(base_url=url, timeout=WITHIN, trust_env=False) as http:
                await follow("/chat", "/chat", http)
                made = await http.post("/chat/v1/jobs", json=BODY)
                player = await Player.start(log, made.json()["id"])
                port = urlsplit(url).port
                assert port is not None
                path = made.json()["links"]["events"]
                async with await Stream.open(port, path) as stream, await Stream.open(port, path) as leaver:
                    await stream.some(2)
                    leaver.vanish()
                    for _ in range(3):
                        await player.say(1)
                        await stream.some(1)
                    await player.finish()
                    await stream.rest()
                async with await Stream.open(port, path) as again:
                    check_stream(await again.rest(), 0, player.last)
                foreign = await http.post("/chat/v1/jobs", json=BODY, headers={"Origin": "https://evil.example"})
                assert foreign.status_code == 403
                await asyncio.gather(*(http.head(f"/chat{path}") for path in ("/healthz", "/docs")))
