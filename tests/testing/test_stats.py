"""The server's counters, and the end of a stream whose client has gone."""

from __future__ import annotations

from typing import Any

import pytest

from readalong.testing import text_for
from tests.testing.support import MESSAGES, ask, running


async def test_every_parameter_of_a_request_is_shown_and_only_the_names_of_its_headers() -> None:
    async with running() as server:
        extra = {"demo": {"tokens": 2}, "made_up": {"deep": [1]}}
        await server.create(
            model="demo-fast",
            messages=MESSAGES,
            seed=7,
            user="me",
            extra_body=extra,
        )
        shown = await server.stats()
        (request,) = shown["requests"]
        assert request["body"] == {"model": "demo-fast", "messages": MESSAGES, "seed": 7, "user": "me", **extra}
        assert "authorization" in request["headers"]
        assert "Bearer" not in str(shown)
        assert (shown["answers"], shown["opened"]) == (1, 0)


async def test_a_finished_stream_is_counted_with_its_text() -> None:
    async with running() as server:
        events = await server.events(ask(demo={"tokens": 30}))
        shown = await server.stats()
        counts = {name: shown[name] for name in ("open", "opened", "finished", "gone", "broken", "tokens")}
        assert counts == {"open": 0, "opened": 1, "finished": 1, "gone": 0, "broken": 0, "tokens": 30}
        stream = shown["streams"][events[0]["id"]]
        assert (stream["state"], stream["tokens"]) == ("finished", 30)
        assert stream["text"] == text_for(ask(demo={"tokens": 30}))


@pytest.mark.parametrize("pace", [0, 200])
async def test_a_generation_stops_at_once_when_its_client_goes(pace: int) -> None:
    async with running() as server:
        stream: Any = await server.create(
            model="demo-endless",
            messages=MESSAGES,
            stream=True,
            extra_body={"demo": {"tokens_per_second": pace, "first_token_seconds": 0}},
        )
        async with stream:
            await anext(aiter(stream))
            assert (await server.stats())["open"] == 1
        shown = await server.stats_when(lambda s: s["open"] == 0)
        assert shown["gone"] == 1
        assert (await server.stats())["tokens"] == shown["tokens"]


async def test_a_client_that_goes_before_the_first_token_is_counted() -> None:
    async with running() as server:
        async with server.raw(ask("demo-slow-first-token", demo={"first_token_seconds": 60})) as reader:
            await reader.readuntil(b"\r\n\r\n")
        assert (await server.stats_when(lambda s: s["gone"] == 1))["tokens"] == 0


@pytest.mark.parametrize("pace", [0, 1_000_000])
async def test_a_client_that_does_not_read_stops_the_generation_until_it_reads(pace: int) -> None:
    async with running() as server, server.raw(ask("demo-endless", demo={"tokens_per_second": pace})) as reader:
        before = -1
        async with server.http.get(f"{server.root}/healthz"):
            pass
        for _ in range(200):
            shown = await server.stats()
            if shown["tokens"] == before:
                break
            before = shown["tokens"]
        assert before < 200_000
        assert await reader.read(100)


async def test_only_the_last_hundred_requests_and_streams_are_kept() -> None:
    async with running() as server:
        for _ in range(105):
            await server.events(ask(demo={"tokens": 1}))
        shown = await server.stats()
        assert (shown["opened"], len(shown["streams"]), len(shown["requests"])) == (105, 100, 100)
