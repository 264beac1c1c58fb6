"""Threads over HTTP: turns, history, the running job, lists, waiting for an end, erasing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest
from arq.connections import ArqRedis
from starlette.datastructures import Headers

from readalong.api.auth.policy import AllowAll
from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.core.thread_entries import entries_of
from readalong.store.log import Log
from readalong.store.threads import ThreadRef
from tests.api.helpers import Player
from tests.api.serving import Site, a_site, on_valkey, short_settings
from tests.readalong.helpers import command
from tests.support.waiting import until

pytestmark = on_valkey


async def submit(
    site: Site, text: str = "hi", *, headers: Mapping[str, str] | None = None, **body: Any
) -> httpx2.Response:
    sent = {"messages": [{"role": "user", "content": text}], **body}
    return await site.http.post("/v1/jobs", json=sent, headers=dict(headers or {}))


async def turn(site: Site, text: str = "hi", thread: str = "t", policy: str = "enqueue", **body: Any) -> str:
    answer = await submit(site, text, thread=thread, thread_policy=policy, **body)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


async def answer(site: Site, log: Log, job_id: str, text: str = "said") -> None:
    """Plays the job's worker."""
    player = await Player.start(log, job_id)
    await player.append(NewEvent("content", {"content": text}))
    await log.finish(job_id, player.attempt, player.last + 1, [("done", b'{"content":"%b"}' % text.encode())], {})
    await site.deps.turns.settle(job_id)


async def get(site: Site, path: str, **headers: str) -> Any:
    found = await site.http.get(path, headers=headers)
    assert found.status_code == 200, found.text
    return found.json()


async def test_a_thread_shows_its_history_its_running_job_and_its_jobs(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site:
        assert (await site.http.get("/v1/threads/t")).status_code == 404
        assert (await site.http.get("/v1/threads/t/running")).status_code == 204
        first = await turn(site, "one")
        second = await turn(site, "two")
        await turn(site, "other", thread="other")
        assert (await get(site, "/v1/threads/t/running"))["id"] == first
        assert (await get(site, f"/v1/jobs/{second}"))["waiting_for"] == "thread"
        assert (await get(site, f"/v1/jobs/{first}"))["thread"] == "t"
        await answer(site, log, first)
        assert (await get(site, "/v1/threads/t/running"))["id"] == second
        await answer(site, log, second)
        assert (await site.http.get("/v1/threads/t/running")).status_code == 204

        thread = await get(site, "/v1/threads/t?limit=3")
        assert thread["running"] is None
        entries = thread["entries"]
        rest = await get(site, thread["next"])
        assert rest["next"] is None
        entries += rest["entries"]
        assert [entry["message"]["content"] for entry in entries] == ["one", "said", "two", "said"]
        assert entries[0]["item"]["content"] == [{"type": "input_text", "text": "one"}]
        assert entries[1]["item"]["id"] == entries[1]["id"] == f"msg_{first}"
        newest = await get(site, "/v1/threads/t?order=desc&limit=1")
        assert newest["entries"] == entries[-1:]
        for path in ("/v1/threads/t/jobs", "/v1/jobs?thread=t"):
            assert [job["id"] for job in (await get(site, path))["jobs"]] == [second, first]
            page = await get(site, f"{path}{'&' if '?' in path else '?'}limit=1")
            assert [job["id"] for job in (await get(site, page["next"]))["jobs"]] == [first]
        assert (await site.http.get("/v1/threads/t?after=nothing")).status_code == 404


@pytest.mark.parametrize("path", ["/v1/jobs", "/chat/stream"])
async def test_a_second_turn_is_refused_by_default_and_nothing_is_left_of_it(settings: Settings, path: str) -> None:
    async with a_site(settings) as site:
        first = await turn(site, "one")
        refused = await site.http.post(path, json={"messages": [{"role": "user", "content": "two"}], "thread": "t"})
        assert (refused.status_code, refused.json()["code"], refused.json()["retryable"]) == (409, "thread_busy", False)
        assert first in refused.json()["detail"]
        assert [job["id"] for job in (await get(site, "/v1/jobs"))["jobs"]] == [first]


async def test_many_turns_at_once_at_two_replicas_make_one_thread(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, a_site(settings) as other:
        jobs = await asyncio.gather(*(turn(each, f"q{n}") for n in range(8) for each in (site, other)))
        done: list[str] = []
        while len(done) < len(jobs):
            running = (await get(site, "/v1/threads/t/running"))["id"]
            await answer(other, log, running, f"a{len(done)}")
            done.append(running)
        assert sorted(done) == sorted(jobs)
        entries = (await get(site, "/v1/threads/t"))["entries"]
        assert [entry["message"]["content"] for entry in entries][1::2] == [f"a{n}" for n in range(16)]


async def test_a_repeat_with_a_key_is_the_same_turn(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site:
        key = {"Idempotency-Key": "k"}
        first = (await submit(site, thread="t", headers=key)).json()["id"]
        again = await submit(site, thread="t", headers=key)
        assert (again.status_code, again.json()["id"]) == (202, first)
        await answer(site, log, first)
        assert (await submit(site, thread="t", headers=key)).json()["id"] == first
        assert len((await get(site, "/v1/threads/t"))["entries"]) == 2


async def test_a_job_that_waits_for_its_thread_is_cancelled_and_erased_like_any_other(
    settings: Settings, log: Log, redis: ArqRedis
) -> None:
    async with a_site(settings) as site:
        first, second, third = [await turn(site, str(n)) for n in range(3)]
        assert (await site.http.post(f"/v1/jobs/{second}/cancel")).json()["status"] == "cancelled"
        player = await Player.start(log, first)
        erasing = asyncio.create_task(site.http.delete(f"/v1/jobs/{first}"))
        await until(lambda: log.flags([first]))
        await player.finish("cancelled")
        assert (await erasing).status_code == 204
        assert (await get(site, "/v1/threads/t/running"))["id"] == third
        assert await command(redis, "ZSCORE", settings.keys.queue, third) is not None


async def test_an_erased_thread_leaves_nothing_of_its_jobs(settings: Settings, log: Log, redis: ArqRedis) -> None:
    async with a_site(settings) as site:
        first = await turn(site, "secret")
        await answer(site, log, first)
        second, third = await turn(site, "secret"), await turn(site, "secret")
        player = await Player.start(log, second)
        erasing = asyncio.create_task(site.http.delete("/v1/threads/t"))
        await until(lambda: log.flags([second]))
        await player.finish("cancelled")
        assert (await erasing).status_code == 204
        for job_id in (first, second, third):
            assert (await site.http.get(f"/v1/jobs/{job_id}")).status_code == 404
        assert (await site.http.get("/v1/threads/t")).status_code == 404
        assert (await site.http.delete("/v1/threads/t")).status_code == 404
        for name in await command(redis, "KEYS", "*"):
            held = await command(redis, "DUMP", name)
            assert b"secret" not in held, name


async def test_jobs_are_listed_by_metadata(settings: Settings) -> None:
    async with a_site(settings) as site:
        one = (await submit(site, metadata={"team": "a", "n": 1})).json()["id"]
        two = (await submit(site, metadata={"team": "a"})).json()["id"]
        await submit(site, metadata={"team": "b"})

        async def listed(query: str) -> list[str]:
            return [job["id"] for job in (await get(site, f"/v1/jobs?{query}"))["jobs"]]

        assert await listed("metadata.team=a") == [two, one]
        assert await listed("metadata.team=a&metadata.n=1") == [one]
        assert await listed("metadata.other=a") == []
        page = await get(site, "/v1/jobs?metadata.team=a&limit=1")
        assert [job["id"] for job in (await get(site, page["next"]))["jobs"]] == [one]


async def test_a_request_is_shown_to_those_who_ask_where_it_is_kept(redis_url: str, log: Log) -> None:
    async with a_site(short_settings(redis_url)) as site:
        job_id = (await submit(site, "what", temperature=0.5)).json()["id"]
        assert "request" not in await get(site, f"/v1/jobs/{job_id}")
        shown = await get(site, f"/v1/jobs/{job_id}?include=request")
        assert shown["request"] == {"messages": [{"role": "user", "content": "what"}], "temperature": 0.5}
        await answer(site, log, job_id)
        assert (await get(site, f"/v1/jobs/{job_id}?include=request"))["request"] is None
        assert (await site.http.get(f"/v1/jobs/{job_id}?include=all")).status_code == 422


async def test_a_client_may_prefer_to_wait_for_the_end(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site:
        job_id = await turn(site)
        waiting = asyncio.create_task(site.http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "respond-async, wait=40"}))
        await until(site.hub.watched)
        await answer(site, log, job_id, "there")
        shown = await waiting
        assert (shown.json()["status"], shown.json()["content"]) == ("done", "there")
        assert shown.headers["preference-applied"] == "wait=40"

        submitting = asyncio.create_task(submit(site, headers={"Prefer": "wait=5000"}, thread="u"))
        running = await until(lambda: site.deps.threads.running(ThreadRef.of("u", {})))
        await until(lambda: log.record(running))
        await answer(site, log, running)
        done = await submitting
        assert (done.status_code, done.json()["status"]) == (200, "done")
        assert done.headers["preference-applied"] == "wait=50"


async def test_a_wait_that_is_over_shows_the_job_as_it_is(settings: Settings) -> None:
    async with a_site(settings) as site:
        shown = await submit(site, headers={"Prefer": "wait=1"})
        assert (shown.status_code, shown.json()["status"]) == (202, "queued")
        plain = await submit(site, headers={"Prefer": "wait=soon"})
        assert "preference-applied" not in plain.headers


class Owners(AllowAll):
    """Two owners, by a header."""

    async def submit(self, headers: Headers) -> Mapping[str, str]:
        return {"owner": headers["owner"]}


async def test_an_owner_sees_no_thread_of_another(settings: Settings) -> None:
    async with a_site(settings, Owners()) as site:
        ann, bob = {"owner": "ann"}, {"owner": "bob"}
        job_id = (await submit(site, headers=ann, thread="t")).json()["id"]
        assert (await submit(site, headers=bob, thread="t")).status_code == 202
        for path in ("/v1/threads/t/jobs", "/v1/jobs?thread=t"):
            assert [job["id"] for job in (await get(site, path, **ann))["jobs"]] == [job_id]
        assert (await site.http.delete("/v1/threads/t", headers=bob)).status_code == 204
        assert (await get(site, "/v1/threads/t", **ann))["running"] == job_id


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"thread": ""}, "thread"),
        ({"thread": "x" * 256}, "thread"),
        ({"thread": 7}, "thread"),
        ({"thread": "t", "thread_policy": "maybe"}, "thread_policy"),
        ({"thread_policy": "reject"}, "thread_policy"),
    ],
)
async def test_a_wrong_thread_is_named(settings: Settings, body: dict[str, Any], field: str) -> None:
    async with a_site(settings) as site:
        refused = await submit(site, **body)
        assert (refused.status_code, refused.json()["field"]) == (422, field)


async def test_a_full_thread_takes_no_turn(redis_url: str) -> None:
    async with a_site(short_settings(redis_url, max_thread_bytes=1024)) as site:
        refused = await submit(site, "x" * 2000, thread="t")
        assert (refused.status_code, refused.json()["code"]) == (422, "thread_full")


async def test_a_page_of_a_thread_ends_after_so_many_bytes(settings: Settings) -> None:
    async with a_site(settings) as site:
        big = entries_of([{"role": "user", "content": "x" * 1_500_000}] * 3)
        await site.deps.threads.create(ThreadRef.of("t", {}), {}, big)
        page = await get(site, "/v1/threads/t")
        assert len(page["entries"]) == 1
        assert len((await get(site, page["next"]))["entries"]) == 1
