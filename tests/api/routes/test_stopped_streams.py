"""Streams of a process that stops: a client that takes the body's end for the answer's must not get that end."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Player
from tests.api.routes.test_openai_chat import newest_job
from tests.api.serving import Stream, a_site, on_valkey
from tests.support.waiting import WITHIN, until

pytestmark = on_valkey

HI: dict[str, Any] = {"role": "user", "content": "hi"}
#: Paths and bodies of calls whose clients know no other end than the body's.
CALLS: dict[str, dict[str, Any]] = {
    "/v1/responses": {"model": "m", "input": "hi", "stream": True},
    "/api/chat": {"model": "m", "messages": [{"id": "u", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]},
    "/agui": {"threadId": "t", "runId": "r", "messages": [{**HI, "id": "u"}], "tools": [], "context": []},
}
NATIVE = {"/chat/stream": {"messages": [HI]}}


async def ask(port: int, path: str, body: dict[str, Any], version: str) -> Stream:
    kind = ["Content-Type: application/json"]
    return await Stream.open(port, path, method="POST", version=version, headers=kind, body=orjson.dumps(body))


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(("path", "body"), [*CALLS.items(), *NATIVE.items()], ids=[*CALLS, *NATIVE])
async def test_a_stream_breaks_off_where_its_end_would_be_the_answers(
    settings: Settings, log: Log, path: str, body: dict[str, Any], version: str
) -> None:
    """All that was said is there before it. Without chunks, the connection's end would be the body's: it is reset."""
    async with a_site(settings) as site, asyncio.timeout(WITHIN):
        asking = asyncio.create_task(ask(site.port, path, body, version))
        player = await Player.start(log, await newest_job(site))
        await player.say(1)
        async with await asking as stream:
            said = await stream.reader.readuntil(b"3 ")
            assert b"[DONE]" not in said
            await until(lambda: "watchers=1 " in repr(site.hub), "the stream")
            closing = asyncio.create_task(site.hub.close())
            if version == "1.0" and path in CALLS:
                with pytest.raises(ConnectionResetError):
                    await stream.reader.read()
            else:
                rest = await stream.reader.read()
                ends = version == "1.1" and path in NATIVE
                assert rest.endswith(b"0\r\n\r\n" if ends else b"\n\n\r\n" if version == "1.1" else b"\n\n")
                assert rest.endswith(b"\r\n0\r\n\r\n") is ends
            await closing
