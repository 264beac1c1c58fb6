"""A submit that an OpenAI SDK repeats after a lost reply starts no second job."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from readalong.core.settings import Settings
from readalong.store.job_record import Record
from readalong.store.log import Log
from tests.api.helpers import Player
from tests.api.serving import Site, a_site, on_valkey

pytestmark = on_valkey

BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


async def submit(site: Site, retried: bool | None, *, owner: str = "", **more: Any) -> Record:
    body = BODY | more
    pairs = {"owner": owner} if owner else {}
    return await site.deps.submitter.submit(orjson.dumps(body), body, None, pairs, chat=True, retried=retried)


async def test_a_repeat_is_the_young_job_of_the_same_caller_and_body(settings: Settings) -> None:
    async with a_site(settings) as site:
        first = await submit(site, False, owner="ann")
        assert (await submit(site, True, owner="ann")).id == first.id
        assert (await submit(site, True, owner="ann")).id == first.id, "the repeat's reply is lost too"
        assert (await submit(site, True, owner="bob")).id != first.id
        assert (await submit(site, True, owner="ann", n=2)).id != first.id
        assert (await submit(site, False, owner="ann")).id != first.id, "no repeat"


async def test_two_lost_submits_of_one_body_get_two_jobs(settings: Settings) -> None:
    async with a_site(settings) as site:
        jobs = {(await submit(site, False)).id for _ in range(2)}
        repeats = await asyncio.gather(submit(site, True), submit(site, True))
        assert {record.id for record in repeats} == jobs


async def test_what_is_answered_or_cannot_answer_is_no_repeats_job(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site:
        answered = await submit(site, False)
        await site.deps.retries.answered(answered)
        cancelled = await submit(site, True)
        assert cancelled.id != answered.id
        await log.cancel(cancelled.id, "disconnect")
        erased = await submit(site, True)
        assert erased.id != cancelled.id
        await site.http.delete(f"/v1/jobs/{erased.id}")
        assert (await submit(site, True)).id not in (cancelled.id, erased.id)


async def test_a_job_that_has_ended_unheard_answers_the_repeat(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site:
        first = await submit(site, False)
        player = await Player.start(log, first.id)
        await player.finish()
        assert (await submit(site, True)).id == first.id


async def test_a_submit_that_broke_off_before_the_job_was_written_is_completed(settings: Settings) -> None:
    async with a_site(settings) as site:
        lost = "abcdefghijklmnopqrstuv"
        probe = await submit(site, False)
        await site.deps.retries.answered(probe)
        await site.deps.retries.offer(probe.body_digest, lost, {})
        assert (await submit(site, True)).id == lost


async def test_offers_for_one_body_are_few_and_do_not_stay(settings: Settings) -> None:
    async with a_site(settings) as site:
        first = await submit(site, False)
        for number in range(100):
            await site.deps.retries.offer(first.body_digest, f"{number:0>16}", {})
        [name] = [settings.keys.repeats(first.body_digest)]
        assert await site.deps.redis.command("LLEN", name) == 64
        assert 0 < await site.deps.redis.command("PTTL", name) <= 120_000
        # A native submit leaves nothing.
        other = await submit(site, None, n=3)
        assert await site.deps.redis.command("EXISTS", settings.keys.repeats(other.body_digest)) == 0
