"""The terminal event is one line with the whole text, read as docs/protocol.md says."""

from __future__ import annotations

from typing import Any

import aiohttp
import orjson

from readalong.core.settings import Settings
from readalong.core.sse import Decoder, Message
from readalong.store.log import Log
from tests.api.helpers import Player
from tests.api.serving import Site, a_site, on_valkey

pytestmark = on_valkey

#: Longer than the default line limits of libraries, with characters that some of them take for line ends.
TEXT = "word\u2028" * 200_000


async def by_aiohttp(site: Site, path: str, **options: Any) -> list[Message]:
    decoder, found = Decoder(), []
    async with (
        aiohttp.ClientSession(**options) as session,
        session.get(f"http://127.0.0.1:{site.port}{path}") as response,
    ):
        async for line in response.content:
            found += decoder.feed(line)
    return found


async def by_httpx(site: Site, path: str) -> list[Message]:
    decoder, found = Decoder(), []
    async with site.http.stream("GET", path) as response:
        rest = b""
        async for piece in response.aiter_bytes():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                found += decoder.feed(line + b"\n")
    return found


async def test_a_long_line_is_read_as_the_protocol_s_page_says(settings: Settings, log: Log) -> None:
    player = await Player.start(log)
    await player.finish(content=TEXT)
    path = f"/v1/jobs/{player.job_id}/events"
    async with a_site(settings) as site:
        for found in (await by_aiohttp(site, path, read_bufsize=2**26), await by_httpx(site, path)):
            assert orjson.loads(found[-1].data)["content"] == TEXT
