"""An API beside other versions, in the middle of an upgrade."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.store.log import Log
from readalong.store.queue import Queue
from tests.api.helpers import Player, number
from tests.api.routes.test_submit import BODY, job, problem, submit
from tests.api.serving import a_site, on_valkey
from tests.readalong.helpers import command, types
from tests.readalong.jobs import submission

pytestmark = on_valkey

CITATION: dict[str, Any] = {"url": "https://example.org", "deep": {"a": [1, None]}}


async def newer(redis: ArqRedis, settings: Settings, job_id: str) -> None:
    """Marks the job as written by another version."""
    await command(redis, "HSET", settings.keys.job(job_id), "schema", 99)


@pytest.mark.parametrize("late", [False, True])
async def test_an_event_of_an_unknown_type_is_passed_on_with_its_number_and_its_data(
    settings: Settings, log: Log, late: bool
) -> None:
    """Live and from history, in every format. It is no text, and it ends nothing."""
    player = await Player.start(log)

    async def play() -> None:
        await player.append(NewEvent("content", {"content": "a"}), NewEvent("citation", CITATION))
        await player.append(NewEvent("content", {"content": "b"}), NewEvent("content", {"content": "c"}))
        await player.finish(content="abc")

    async with a_site(settings) as site:
        if late:
            await play()
            seen = await site.watch(player.job_id)
        else:
            async with await site.open(f"/v1/jobs/{player.job_id}/events") as stream:
                seen = await stream.some(2)
                await play()
                seen += await stream.rest()
        [cited] = [message for message in seen if message.event == "citation"]
        assert (number(cited), orjson.loads(cited.data)) == (4, {"type": "citation", **CITATION})
        assert [message.event for message in seen if message.event != "content"] == [
            "queued",
            "started",
            "citation",
            "done",
        ]
        words = [orjson.loads(message.data)["content"] for message in seen if message.event == "content"]
        assert "".join(words) == "abc"
        shown = job(await site.http.get(f"/v1/jobs/{player.job_id}"), 200)
        assert (shown.content, shown.last_seq) == ("abc", 7)


async def test_a_plain_stream_leaves_out_an_event_of_an_unknown_type(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site:
        body = orjson.dumps(BODY)
        async with await site.open("/chat/stream", method="POST", body=body) as stream:
            player = await Player.start(log, stream.headers["x-job-id"])
            await player.append(NewEvent("content", {"content": "a"}), NewEvent("citation", CITATION))
            await player.append(NewEvent("citation", CITATION))
            await player.append(NewEvent("content", {"content": "b"}))
            await player.finish()
            await stream.rest()
            assert bytes(stream.body) == b'data: {"content":"a"}\n\ndata: {"content":"b"}\n\ndata: [DONE]\n\n'


async def test_a_field_of_an_unknown_name_is_not_shown_and_harms_nothing(settings: Settings, redis: ArqRedis) -> None:
    async with a_site(settings) as site:
        before = job(await site.http.get(f"/v1/jobs/{job(await submit(site)).id}"), 200)
        await command(redis, "HSET", settings.keys.job(before.id), "a_field_of_next_year", "\xff{")
        assert job(await site.http.get(f"/v1/jobs/{before.id}"), 200) == before


async def test_a_job_of_an_unknown_schema_is_refused_by_name_on_each_call(
    settings: Settings, redis: ArqRedis, log: Log
) -> None:
    """Each call gets a 503, because another replica may know the schema; so does a repeat of its submit. A cancel
    only sets the flag."""
    async with a_site(settings) as site:
        job_id = job(await submit(site, key="key")).id
        await newer(redis, settings, job_id)
        before = await command(redis, "HGETALL", settings.keys.job(job_id))
        path = f"/v1/jobs/{job_id}"
        for method, tail in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")):
            answer = await site.http.request(method, path + tail)
            assert problem(answer, 503, "unknown_schema").retryable
            assert int(answer.headers["retry-after"]) >= 1
        problem(await submit(site, key="key"), 503, "unknown_schema")
        answer = await site.http.post("/chat/stream", json=BODY, headers={"Idempotency-Key": "key"})
        problem(answer, 503, "unknown_schema")
        assert await command(redis, "HGETALL", settings.keys.job(job_id)) == before
        assert types(await log.read(job_id, 0, 10)) == ["queued"]
        assert (await log.flags([job_id])).keys() == {job_id}, "the cancel is kept"
        assert "feeds=0" in repr(site.hub)


async def test_a_cancel_of_a_job_of_an_unknown_schema_is_left_to_a_process_that_knows_it(
    settings: Settings, redis: ArqRedis, log: Log, queue: Queue
) -> None:
    async with a_site(settings) as site:
        job_id = job(await submit(site)).id
        await newer(redis, settings, job_id)
        await site.http.post(f"/v1/jobs/{job_id}/cancel")
        assert await queue.contains([job_id]) == [True]
        await command(redis, "HSET", settings.keys.job(job_id), "schema", 1)
        assert (await log.claim(job_id, b"{}", "token")).status == "ended"
        assert job(await site.http.get(f"/v1/jobs/{job_id}"), 200).status == "cancelled"


async def test_the_list_leaves_out_jobs_of_an_unknown_schema_and_fills_its_pages(
    settings: Settings, redis: ArqRedis, log: Log, queue: Queue
) -> None:
    jobs = []
    for at in range(1, 10):
        new = submission(created_at=at)
        await log.submit(new)
        await queue.enqueue(new.job_id, at)
        jobs.append(new.job_id)
    for job_id in jobs[::2]:
        await newer(redis, settings, job_id)
    async with a_site(settings) as site:
        page = (await site.http.get("/v1/jobs?limit=3")).json()
        rest = (await site.http.get(page["next"])).json()
        assert [shown["id"] for shown in page["jobs"] + rest["jobs"]] == jobs[1::2][::-1]
        assert (len(page["jobs"]), rest["next"]) == (3, None)
