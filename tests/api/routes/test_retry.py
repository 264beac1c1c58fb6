"""A job's story, and the job that repeats it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from readalong.api.schemas import Job
from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.store.log import encode
from tests.api.auth.test_policy import ANN, BOB, Owners, submitted
from tests.api.helpers import Player
from tests.api.routes.test_submit import BODY, problem
from tests.api.serving import Site, a_site, on_valkey
from tests.readalong.jobs import OTHER_WORKER
from tests.support.waiting import until

pytestmark = on_valkey

USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 500_000, "total_tokens": 1_500_000}


async def story(site: Site, job_id: str) -> dict[str, Any]:
    """Returns the job with its timeline, in the form that the API describes."""
    answer = await site.http.get(f"/v1/jobs/{job_id}?include=timeline")
    assert answer.status_code == 200, answer.text
    Job.model_validate_json(answer.content, strict=True)
    found: dict[str, Any] = answer.json()
    return found


def told(job: dict[str, Any]) -> list[tuple[str, int | None, str | None]]:
    return [(entry["what"], entry["attempt"], entry["reason"]) for entry in job["timeline"]]


async def test_a_timeline_has_each_attempt_its_worker_its_first_token_and_the_end(settings: Settings) -> None:
    async with a_site(settings) as site:
        job_id = (await site.http.post("/v1/jobs", json=BODY)).json()["id"]
        assert told(await story(site, job_id)) == [("submitted", None, None)]
        player = await Player.start(site.deps.log, job_id)
        await player.say()
        claim = await site.deps.log.claim(job_id, OTHER_WORKER, "second")
        first = claim.last_seq + 1
        await site.deps.log.append(job_id, claim.fence, first, encode([NewEvent("content", {"content": "a"})]))
        end = encode([NewEvent("failed", {"content": "a", "error": {"code": "model_cut"}})])
        error = orjson.dumps({"code": "model_cut", "message": "m", "retryable": True})
        await site.deps.log.finish(job_id, claim.fence, first + 1, end, {"error": error})
        job = await story(site, job_id)
        assert told(job) == [
            ("submitted", None, None),
            ("started", 1, None),
            ("first_token", 1, None),
            ("restarted", 2, "worker_lost"),
            ("first_token", 2, None),
            ("ended", 2, "model_cut"),
        ]
        workers = [entry["worker"] and entry["worker"]["id"] for entry in job["timeline"]]
        assert workers == [None, "w1", None, "w2", None, None]
        times = [entry["at"] for entry in job["timeline"]]
        assert times == sorted(times)
        assert (times[0], times[1], times[-1]) == (job["created_at"], job["started_at"], job["ended_at"])
        assert "timeline" not in (await site.http.get(f"/v1/jobs/{job_id}")).json()


async def test_a_timeline_says_who_asked_for_a_cancel_and_when(settings: Settings) -> None:
    async with a_site(settings) as site:
        job_id = (await site.http.post("/v1/jobs", json=BODY)).json()["id"]
        await Player.start(site.deps.log, job_id)
        await site.http.post(f"/v1/jobs/{job_id}/cancel")
        assert told(await story(site, job_id))[-1] == ("cancel_requested", None, "client")


async def test_a_cost_is_by_the_prices_of_the_settings(settings: Settings) -> None:
    priced = settings.model_copy(update={"prices": "EUR: other=9/9, gpt-5*=2.5/10"})
    async with a_site(priced) as site:
        job_id = (await site.http.post("/v1/jobs", json=BODY)).json()["id"]
        player = await Player.start(site.deps.log, job_id)
        assert (await story(site, job_id))["cost"] is None
        await player.finish(usage=USAGE)
        cost = {"amount": 7.5, "currency": "EUR", "prompt": 2.5, "completion": 5.0}
        assert (await story(site, job_id))["cost"] == cost
    async with a_site(settings) as site:
        assert (await story(site, job_id))["cost"] is None


async def test_what_a_person_wrote_into_a_story_is_left_out(settings: Settings) -> None:
    async with a_site(settings) as site:
        player = await Player.start(site.deps.log)
        name = settings.keys.job(player.job_id)
        for began, progress, flag in (
            (b"\xff", b"\xff", b"Ada"),
            (b"1:99999999999999999999", b"[[1]]", b'{"by":7,"at":"x"}'),
            (b"1:x 2:3", b'{"a":1}', b'{"by":"a","at":7}'),
            (b"", b'[["a","b"]]', b"[]"),
            (b"1:999999999999999", b"[[1e999, 1]]", b'{"by":"a","at":"9999-12-31T23:59:59+23:59"}'),
        ):
            await site.deps.redis.command("HSET", name, "began", began, "progress", progress, "first_token_at", began)
            await site.deps.redis.command("SET", settings.keys.cancel(player.job_id), flag)
            job = await story(site, player.job_id)
            assert job["timeline"][0]["what"] == "submitted"
            assert job["progress"] is None


@pytest.mark.parametrize("store", [False, True])
async def test_a_retry_is_a_new_job_with_the_same_request_and_metadata(settings: Settings, store: bool) -> None:
    async with a_site(settings.model_copy(update={"keep_request": True})) as site:
        body = {**BODY, "temperature": 0.5, "metadata": {"ticket": "7"}, **({"store": True} if store else {})}
        job_id = (await site.http.post("/v1/jobs", json=body)).json()["id"]
        problem(await site.http.post(f"/v1/jobs/{job_id}/retry"), 409, "job_running")
        await (await Player.start(site.deps.log, job_id)).finish()
        answer = await site.http.post(f"/v1/jobs/{job_id}/retry")
        again = answer.json()
        assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{again['id']}")
        assert (again["status"], again["retry_of"], again["metadata"]) == ("queued", job_id, {"ticket": "7"})
        assert (again["model"], again["id"] != job_id) == (settings.model, True)
        [first, second] = [
            (await site.http.get(f"/v1/jobs/{one}?include=request")).json()["request"] for one in (job_id, again["id"])
        ]
        assert {**first, "model": settings.model} == second
        assert ("metadata" in second) == store
        # A second one is another job, for two clicks may be meant.
        assert (await site.http.post(f"/v1/jobs/{job_id}/retry")).json()["id"] not in (job_id, again["id"])
        assert (await site.http.get(f"/v1/jobs/{job_id}")).json()["retry_of"] is None


async def test_a_request_that_is_gone_and_a_turn_of_a_thread_cannot_be_retried(settings: Settings) -> None:
    async with a_site(settings) as site:
        player = await Player.start(site.deps.log)
        await player.finish()
        gone = problem(await site.http.post(f"/v1/jobs/{player.job_id}/retry"), 409, "request_gone")
        assert "READALONG_KEEP_REQUEST" in gone.detail
    async with a_site(settings.model_copy(update={"keep_request": True})) as site:
        job_id = (await site.http.post("/v1/jobs", json={**BODY, "thread": "t"})).json()["id"]
        await (await Player.start(site.deps.log, job_id)).finish()
        problem(await site.http.post(f"/v1/jobs/{job_id}/retry"), 409, "job_in_thread")
        problem(await site.http.post("/v1/jobs/no-such-job-is-there-x/retry"), 404, "job_not_found")


async def test_who_retries_owns_the_new_job(settings: Settings) -> None:
    async with a_site(settings.model_copy(update={"keep_request": True}), Owners(hides=True)) as site:
        job_id = await submitted(site, ANN)
        await site.http.post(f"/v1/jobs/{job_id}/cancel", headers=ANN)
        assert (await site.http.post(f"/v1/jobs/{job_id}/retry", headers=BOB)).status_code == 404
        again = (await site.http.post(f"/v1/jobs/{job_id}/retry", headers=ANN)).json()
        assert (again["metadata"]["owner"], again["metadata"]["ticket"]) == ("ann", "7")


async def test_a_job_is_found_by_the_beginning_of_its_id(settings: Settings) -> None:
    async with a_site(settings) as site:
        ids = [(await site.http.post("/v1/jobs", json=BODY)).json()["id"] for _ in range(5)]

        async def found(query: str, status: int = 200) -> list[str]:
            answer = await site.http.get(f"/v1/jobs?{query}")
            assert answer.status_code == status, answer.text
            assert status != 200 or answer.json()["next"] is None
            return [job["id"] for job in answer.json()["jobs"]] if status == 200 else []

        for job_id in ids:
            assert await found(f"id={job_id[:8]}") == [job_id]
            assert await found(f"id={job_id}") == [job_id]
        assert await found(f"id={ids[0]}&status=done") == []
        assert await found("id=zzzz") == []
        for wrong in ("abc", "a*c?", "x" * 65, "%FF%FF%FF%FF"):
            assert await found(f"id={wrong}", 422) == []
        # Several have one beginning: the newest first.
        shared = [f"samesame-{number}-{'x' * 10}" for number in range(3)]
        now = await site.deps.index.now()
        for number, job_id in enumerate(shared):
            source = settings.keys.job(ids[0])
            await site.deps.redis.command("COPY", source, settings.keys.job(job_id))
            await site.deps.redis.command("HSET", settings.keys.job(job_id), "id", job_id, "created_at", now + number)
            await site.deps.index.refile(job_id)
        assert await found("id=same") == shared[::-1]
        assert await found("id=same&limit=2") == shared[:0:-1]
        await site.http.delete(f"/v1/jobs/{shared[0]}")
        assert await found("id=same") == shared[:0:-1]

        async def forgotten() -> bool:
            await site.deps.redis.command("DEL", settings.keys.job(shared[1]))
            await site.deps.index.refile(shared[1])
            return await site.deps.index.beginning("same", 10) == [shared[2]]

        await until(forgotten)


async def test_a_beginning_costs_the_same_among_many_jobs_as_among_few(settings: Settings) -> None:
    async with a_site(settings) as site:
        job_id = (await site.http.post("/v1/jobs", json=BODY)).json()["id"]
        redis = site.deps.redis

        async def cost(path: str) -> int:
            await redis.command("CONFIG", "RESETSTAT")
            assert [job["id"] for job in (await site.http.get(path)).json()["jobs"]] == [job_id]
            stats = await redis.info("commandstats")
            return sum(int(each["calls"]) for each in stats.values())

        paths = (f"/v1/jobs?id={job_id[:10]}", "/v1/jobs?limit=1")
        for path in paths:
            await cost(path)
        few = [await cost(path) for path in paths]
        for start in range(0, 100_000, 10_000):
            names = [f"{number:022d}" for number in range(start, start + 10_000)]
            await redis.command("ZADD", settings.keys.ids, *(part for name in names for part in (0, name)))
            await redis.command("ZADD", settings.keys.jobs, *(part for name in names for part in (1000, name)))
        assert [await cost(path) for path in paths] == few
