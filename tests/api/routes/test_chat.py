"""`POST /chat/stream`: the contract that existing front ends use."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from readalong.core.events import NewEvent
from readalong.core.keys import is_job_id
from readalong.core.settings import Settings
from readalong.store.job_record import Record
from readalong.store.log import Log
from tests.api.helpers import Player
from tests.api.serving import Site, Stream, a_site, on_valkey, short_settings
from tests.support.waiting import until

pytestmark = on_valkey

BODY = orjson.dumps({"messages": [{"role": "user", "content": "hi"}]})


async def chat(site: Site, *headers: str, body: bytes = BODY) -> Stream:
    return await site.open("/chat/stream", method="POST", body=body, headers=headers)


async def test_the_contract_byte_for_byte(settings: Settings, log: Log) -> None:
    """`data: {"content": …}` for each piece, then `data: [DONE]`; no ids, no event names, nothing else."""
    async with a_site(settings) as site, await chat(site) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["x-accel-buffering"] == "no"
        job_id = stream.headers["x-job-id"]
        assert is_job_id(job_id)
        assert stream.headers["location"] == f"/v1/jobs/{job_id}"
        player = await Player.start(log, job_id)
        await player.append(NewEvent("content", {"content": "Hé\u2028\n"}), NewEvent("content", {"content": " you"}))
        assert await stream.piece() == 'data: {"content":"Hé\u2028\\n"}\n\ndata: {"content":" you"}\n\n'.encode()
        await player.finish(finish_reason="stop")
        assert await stream.piece() == b"data: [DONE]\n\n"
        assert await stream.piece() == b""


ENDS: list[tuple[str, dict[str, Any], bytes]] = [
    ("done", {}, b""),
    (
        "failed",
        {"error": {"code": "model_cut", "message": "m", "retryable": True}},
        b'data: {"content":"","error":{"code":"model_cut","message":"m","retryable":true}}\n\n',
    ),
    ("cancelled", {"by": "client"}, b'data: {"content":"","cancelled":{"by":"client"}}\n\n'),
]


@pytest.mark.parametrize(("kind", "fields", "wanted"), ENDS, ids=[end[0] for end in ENDS])
async def test_every_end_is_said_inside_the_stream(
    settings: Settings, log: Log, kind: str, fields: dict[str, Any], wanted: bytes
) -> None:
    """The status was sent long before. The error is a line, and `[DONE]` is still the last one."""
    async with a_site(settings) as site, await chat(site) as stream:
        player = await Player.start(log, stream.headers["x-job-id"])
        await player.say(1)
        await player.finish(kind, **fields)
        await stream.rest()
        assert stream.body == b'data: {"content":"3 "}\n\n' + wanted + b"data: [DONE]\n\n"


async def test_calls_and_a_restart_come_under_their_own_names(settings: Settings, log: Log) -> None:
    """A restart before any text voids nothing that a front end has shown."""
    async with a_site(settings) as site, await chat(site) as stream:
        player = await Player.start(log, stream.headers["x-job-id"])
        await player.append(
            NewEvent("tool_call_delta", {"index": 0, "id": "c", "name": "f", "arguments": "{"}),
            NewEvent("tool_call", {"index": 0, "id": "c", "name": "f", "arguments": {}}),
            NewEvent("function_call", {"name": "g", "arguments": {}}),
        )
        while b"function_call" not in stream.body:
            await stream.piece()
        await player.claim("second")
        await player.finish()
        await stream.rest()
        lines = stream.body.decode().strip().split("\n\n")
        assert lines[0] == 'data: {"content":"","tool_call":{"index":0,"id":"c","name":"f","arguments":{}}}'
        assert lines[1] == 'data: {"content":"","function_call":{"name":"g","arguments":{}}}'
        assert lines[2].startswith('data: {"content":"","restarted":{"attempt":2,"reason":"worker_lost"')
        assert lines[3:] == ["data: [DONE]"]


async def test_once_text_is_out_a_lost_worker_ends_the_stream_with_an_error_that_names_the_job(
    settings: Settings, log: Log
) -> None:
    """Readers append, so the texts of two attempts would mix. With `restarted=true` the stream continues, as for
    other watchers."""
    async with a_site(settings) as site, await chat(site, "Idempotency-Key: k") as plain:
        asks = {"method": "POST", "body": BODY, "headers": ["Idempotency-Key: k"]}
        async with await site.open("/chat/stream?restarted=true", **asks) as aware:
            player = await Player.start(log, plain.headers["x-job-id"])
            await player.say(1)
            for stream in (plain, aware):
                assert await stream.piece() == b'data: {"content":"3 "}\n\n'
            await player.claim("second")
            await plain.rest()
            error = {
                "code": "worker_lost",
                "message": f"Job {player.job_id} begins again; the text so far is void.",
                "retryable": True,
                "job_id": player.job_id,
            }
            last = b'data: {"content":"","error":%s}\n\ndata: [DONE]\n\n' % orjson.dumps(error)
            assert plain.body == b'data: {"content":"3 "}\n\n' + last
            await until(lambda: "watchers=1 " in repr(site.hub), "its connection is closed")
            await player.say(1)
            await player.finish()
            await aware.rest()
            kinds = [next(name for name in orjson.loads(line[6:]) if name) for line in lines_of(aware)[:-1]]
            assert kinds == ["content", "content", "content"]
            assert b'"restarted":{"attempt":2' in aware.body
        # A new request gets one text, without the text that is void.
        async with await chat(site, "Idempotency-Key: k") as again:
            await again.rest()
            assert [orjson.loads(line[6:])["content"] for line in lines_of(again)[:-1]] == ["", "5 "]
        answer = await site.http.post("/chat/stream?restarted=perhaps", content=BODY)
        assert (answer.status_code, answer.json()["field"]) == (422, "restarted")


def lines_of(stream: Stream) -> list[bytes]:
    return bytes(stream.body).strip().split(b"\n\n")


async def test_an_answer_longer_than_the_window_comes_whole(redis_url: str, log: Log) -> None:
    """The log is read from the start, and this format leaves out most of its events."""
    async with a_site(short_settings(redis_url, replay_buffer_bytes=4096)) as site:
        async with await chat(site, "Idempotency-Key: k") as first:
            player = await Player.start(log, first.headers["x-job-id"])
            for _ in range(4):
                await player.append(
                    *(NewEvent("tool_call_delta", {"index": 0, "arguments": "x" * 20}) for _ in range(400)),
                    NewEvent("content", {"content": f"part {player.last} "}),
                )
            await player.finish()
            await first.rest()
        async with await chat(site, "Idempotency-Key: k") as again:
            assert again.headers["x-job-id"] == player.job_id
            await again.rest()
        assert again.body == first.body
        assert again.body.count(b"part ") == 4


async def test_two_with_one_key_watch_one_job(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site:
        streams = await asyncio.gather(*(chat(site, "Idempotency-Key: same") for _ in range(3)))
        (job_id,) = {stream.headers["x-job-id"] for stream in streams}
        player = await Player.start(log, job_id)
        await player.say(2)
        await player.finish()
        for stream in streams:
            await stream.rest()
            assert stream.body.endswith(b"data: [DONE]\n\n")
            stream.vanish()


async def test_a_client_that_leaves_the_chat_does_not_end_the_job(settings: Settings, log: Log) -> None:
    """The answer is in the log, for every client that has the id."""
    async with a_site(settings) as site:
        stream = await chat(site)
        player = await Player.start(log, stream.headers["x-job-id"])
        stream.vanish()
        await until(lambda: "watchers=0 " in repr(site.hub), "the client to leave")
        await player.say(1)
        await player.finish()
        assert [message.event for message in await site.watch(player.job_id)][-1] == "done"


async def test_a_refused_chat_is_a_problem_not_a_stream(redis_url: str) -> None:
    async with a_site(short_settings(redis_url, max_queued=1)) as site:
        async with await chat(site, body=b'{"messages": []}') as bad:
            assert (bad.status, bad.headers["content-type"]) == (422, "application/problem+json")
        async with await chat(site) as first, await chat(site) as second:
            assert first.status == 200
            assert (second.status, second.headers["content-type"]) == (429, "application/problem+json")
            assert second.headers["retry-after"] == "5"


async def test_a_job_that_redis_loses_before_its_stream_begins_is_to_be_submitted_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a POST, a 404 would mean a wrong address."""
    async with a_site(settings) as site:
        record = site.deps.log.record

        async def lost(job_id: str) -> Record | None:
            await site.deps.log.delete(job_id)
            return await record(job_id)

        monkeypatch.setattr(site.deps.log, "record", lost)
        answer = await site.http.post("/chat/stream", content=BODY, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (
            503,
            "redis_unavailable",
            True,
        )
        assert answer.headers["retry-after"] == "1"
