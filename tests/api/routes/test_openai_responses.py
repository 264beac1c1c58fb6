"""`/v1/responses`, asked by openai-python as it is installed."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import orjson
import pytest
from arq.connections import ArqRedis
from openai.types.responses import Response
from pydantic import BaseModel

from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.auth.test_policy import Owners
from tests.api.helpers import Player
from tests.api.serving import Site, a_site, on_valkey, short_settings
from tests.readalong.helpers import command
from tests.support.waiting import until

pytestmark = on_valkey


def client_of(site: Site) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{site.port}/v1", api_key="k", max_retries=0)


def job_of(response: Response) -> str:
    return response.id.removeprefix("resp_")


async def first_response(stream: Any) -> Response:
    response: Response = (await anext(aiter(stream))).response
    return response


def content(text: str) -> NewEvent:
    return NewEvent("content", {"content": text})


async def background(client: openai.AsyncOpenAI, log: Log, **more: Any) -> tuple[Response, Player]:
    """A response in the background, under its first attempt."""
    response = await client.responses.create(model="m", input="hi", background=True, **more)
    assert response.status == "queued"
    return response, await Player.start(log, job_of(response))


async def test_a_background_response_is_polled_to_its_end(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, client_of(site) as client:
        response, player = await background(client, log, instructions="Be brief.", metadata={"a": "b"})
        assert (response.instructions, response.metadata, response.background) == ("Be brief.", {"a": "b"}, True)
        await player.say(2)
        response = await client.responses.retrieve(response.id)
        assert (response.status, response.output_text) == ("in_progress", "3 4 ")
        await player.finish(finish_reason="stop", usage={"prompt_tokens": 1, "completion_tokens": 2})
        response = await client.responses.retrieve(response.id)
        assert (response.status, response.output_text, response.output[0].id) == (
            *("completed", "3 4 "),
            f"msg_{player.job_id}",
        )
        assert response.usage is not None
        assert response.usage.total_tokens == 3


async def test_a_stream_tells_at_once_that_it_is_queued(settings: Settings, log: Log) -> None:
    """The job's own links are in its headers."""
    async with a_site(settings) as site, client_of(site) as client:
        raw = await client.responses.with_raw_response.create(model="m", input="hi", stream=True)
        job_id = raw.headers["x-job-id"]
        assert raw.headers["location"] == f"/v1/jobs/{job_id}"
        events = aiter(raw.parse())
        assert [(await anext(events)).type for _ in range(2)] == ["response.created", "response.queued"]
        player = await Player.start(log, job_id)
        await player.say(1)
        await player.finish(finish_reason="stop")
        rest = [event async for event in events]
        assert rest[-1].type == "response.completed"
        assert rest[-1].response.output_text == "3 "


async def test_a_call_that_waits_gets_the_whole_response(settings: Settings, log: Log) -> None:
    """A failed one too: an error would have the SDK create another one."""
    async with a_site(settings) as site, client_of(site) as client:
        for end, status in (("done", "completed"), ("failed", "failed")):
            waiting = asyncio.create_task(client.responses.create(model="m", input=end, store=False))
            job_id = await newest_job(site)
            player = await Player.start(log, job_id)
            await player.say(1)
            fields = (
                {"error": {"code": "model_stalled", "message": "Silence.", "retryable": True}}
                if end == "failed"
                else {}
            )
            await player.finish(end, **fields)
            response = await waiting
            assert (response.status, response.output_text) == (status, "3 ")
            # What is not stored is not there for others.
            with pytest.raises(openai.NotFoundError):
                await client.responses.retrieve(response.id)


async def newest_job(site: Site) -> str:
    """The only job that waits."""

    async def find() -> str | None:
        jobs = (await site.http.get("/v1/jobs?status=queued")).json()["jobs"]
        return jobs[0]["id"] if jobs else None

    return await until(find, "the job is queued")


async def test_any_response_is_streamed_again_from_any_number_by_any_process(settings: Settings, log: Log) -> None:
    """However it was created, also as a plain job; by raw events and by the helper."""
    async with a_site(settings) as site, a_site(settings) as other, client_of(site) as client, client_of(other) as late:
        _, player = await background(client, log)
        native = await Player.start(log, (await site.http.post("/v1/jobs", json={"messages": [{}]})).json()["id"])
        for each in (player, native):
            await each.append(content("a"), content("b"))
            response_id = f"resp_{each.job_id}"
            streams = [
                await who.responses.retrieve(response_id, stream=True, starting_after=after)
                for who, after in ((client, 3), (late, 5), (late, 0))
            ]
            await each.append(content("c"))
            await each.finish(finish_reason="stop")
            whole = [event async for event in await client.responses.retrieve(response_id, stream=True)]
            assert [event.sequence_number for event in whole] == list(range(12))
            for stream, after in zip(streams, (3, 5, 0), strict=True):
                assert [event async for event in stream] == whole[after + 1 :]
            for after, last in ((11, []), (12, whole[-1:]), (10**15, whole[-1:])):
                rest = await late.responses.retrieve(response_id, stream=True, starting_after=after)
                assert [event async for event in rest] == last
            async with late.responses.stream(response_id=response_id, starting_after=7) as helped:
                seen = [event.sequence_number async for event in helped]
                assert seen == list(range(8, 12))
                assert (await helped.get_final_response()).output_text == "abc"


class Answer(BaseModel):
    """What a client of `text_format` wants."""

    a: int


async def test_the_helper_has_one_text_after_a_lost_worker(settings: Settings, log: Log) -> None:
    """Parsed, and watched from before and after the loss."""
    async with a_site(settings) as site, client_of(site) as client:
        made = client.responses.stream(model="m", input="hi", background=True, text_format=Answer)
        async with made as stream:
            job_id = stream._response.headers["x-job-id"]
            player = await Player.start(log, job_id)
            await player.append(content('{"a":'), content("7"))
            await player.claim("second")
            await player.append(content('{"a":1}'))
            await player.finish(finish_reason="stop")
            assert (await stream.get_final_response()).output_parsed == Answer(a=1)
        async with client.responses.stream(response_id=f"resp_{job_id}", text_format=Answer) as again:
            assert (await again.get_final_response()).output_parsed == Answer(a=1)


async def test_a_client_that_leaves_cancels_its_response_unless_it_is_in_the_background(
    redis_url: str, log: Log
) -> None:
    async with a_site(short_settings(redis_url, disconnect_grace=2)) as site, client_of(site) as client:
        jobs = {}
        for name in ("front", "back"):
            stream = await client.responses.create(model="m", input="hi", stream=True, background=name == "back")
            jobs[name] = job_of(await first_response(stream))
            await stream.close()
        records = [await log.record(job_id) for job_id in jobs.values()]
        assert [record.cancel_on_disconnect for record in records if record] == [True, False]
        await until(lambda: "watchers=0 " in repr(site.hub), "both have left")


async def test_a_cancel_says_so_in_the_response_and_its_stream(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, client_of(site) as client:
        queued = await client.responses.create(model="m", input="hi", background=True)
        for _ in range(2):
            assert (await client.responses.cancel(queued.id)).status == "cancelled"
        running, player = await background(client, log)
        await player.say(1)
        cancelling = asyncio.create_task(client.responses.cancel(running.id))
        await until(lambda: log.flags([player.job_id]), "the flag")
        await player.finish("cancelled", by="client")
        cancelled = await cancelling
        assert (cancelled.status, cancelled.output_text) == ("cancelled", "3 ")
        last = [event async for event in await client.responses.retrieve(running.id, stream=True)][-1]
        assert last.type == "response.failed"
        assert last.response == cancelled


async def test_a_deleted_response_is_gone(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, client_of(site) as client:
        response, player = await background(client, log)
        await player.finish()
        await client.responses.delete(response.id)
        assert await log.record(player.job_id) is None
        with pytest.raises(openai.NotFoundError):
            await client.responses.delete(response.id)
        answer = await site.http.delete(f"/v1/responses/{response.id}")
        assert answer.json()["error"]["message"] == f"Response with id '{response.id}' not found."


async def test_what_was_said_goes_with_the_last_response_of_its_thread(
    settings: Settings, log: Log, redis: ArqRedis
) -> None:
    """A later response needs what was said before it. No name leads to such a thread."""
    async with a_site(settings) as site, client_of(site) as client:
        first, player = await background(client, log)
        await player.finish()
        second, player = await background(client, log, previous_response_id=first.id)
        await player.finish()
        assert await redis.keys("*:thread:*")
        await client.responses.delete(first.id)
        assert await redis.keys("*:thread:*")
        await client.responses.delete(second.id)
        assert await redis.keys("*:thread:*") == []


async def test_input_items_are_listed_in_pages(settings: Settings) -> None:
    given: Any = [{"role": "user", "content": str(number)} for number in range(5)]
    async with a_site(settings) as site, client_of(site) as client:
        response = await client.responses.create(model="m", input=given, background=True)
        page = await client.responses.input_items.list(response.id, limit=2)
        assert [texts(item) for item in page.data] == ["4", "3"]
        assert [texts(item) async for item in page] == ["4", "3", "2", "1", "0"]
        assert [texts(item) async for item in client.responses.input_items.list(response.id, order="asc", limit=3)] == [
            *("0", "1", "2", "3", "4")
        ]
        path = f"/v1/responses/{response.id}/input_items"
        before = await site.http.get(path, params={"before": page.data[1].id, "order": "desc"})
        assert [item["id"] for item in before.json()["data"]] == [page.data[0].id]
        assert {item.id for item in page.data} != {None}


def texts(item: Any) -> str:
    text: str = item.content[0].text
    return text


async def test_a_response_follows_another_one(settings: Settings, log: Log) -> None:
    """The worker composes: the request that it claims has the new turn alone, behind the instructions."""
    async with a_site(settings) as site, client_of(site) as client:
        first, player = await background(client, log)
        with pytest.raises(openai.ConflictError) as busy:
            await client.responses.create(model="m", input="2", previous_response_id=first.id)
        assert busy.value.code == "thread_busy"
        assert busy.value.response.headers["x-should-retry"] == "false"
        await player.append(content("1"))
        await player.finish(finish_reason="stop", content="1")
        second = await client.responses.create(
            model="m", input="2", previous_response_id=first.id, instructions="Be brief.", background=True
        )
        assert second.previous_response_id == first.id
        request = await log.request(job_of(second)) or b""
        composed = await site.deps.turns.compose(job_of(second), await digest_of(log, second), request, 1)
        said = [("system", "Be brief."), ("user", "hi"), ("assistant", "1"), ("user", "2")]
        assert roles_and_texts(composed) == said
        # One that is not stored has the same before it, and leaves the thread as it was.
        aside: Any = await client.responses.create(
            model="m", input="2", previous_response_id=first.id, instructions="Be brief.", store=False, stream=True
        )
        alone = job_of(await first_response(aside))
        assert roles_and_texts(await log.request(alone)) == said
        record = await log.record(alone)
        assert record is not None
        assert record.thread == ""
        await aside.close()


def roles_and_texts(request: bytes | None) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in orjson.loads(request or b"")["messages"]]


async def digest_of(log: Log, response: Response) -> str:
    record = await log.record(job_of(response))
    assert record is not None
    return record.thread_digest


async def test_an_item_is_named_by_its_id(settings: Settings, log: Log) -> None:
    """As the AI SDK does of each stored answer."""
    async with a_site(settings) as site, client_of(site) as client:
        _, player = await background(client, log)
        await player.append(content("1"))
        await player.finish(finish_reason="stop", content="1")
        named = {"type": "item_reference", "id": f"msg_{player.job_id}"}
        given: Any = [named, {"role": "user", "content": "2"}]
        response = await client.responses.create(model="m", input=given, background=True)
        request = await log.request(job_of(response))
        assert orjson.loads(request or b"")["messages"] == [
            {"role": "assistant", "content": "1"},
            {"role": "user", "content": "2"},
        ]
        given = [{**named, "id": f"msg_{'x' * 22}"}]
        with pytest.raises(openai.BadRequestError) as unknown:
            await client.responses.create(model="m", input=given)
        assert unknown.value.param == "input[0].id"


async def test_a_repeat_by_the_sdk_is_the_same_response(settings: Settings, log: Log) -> None:
    """The key of our own works too, and the same key with another body is told, and not repeated."""
    body: dict[str, Any] = {"model": "m", "input": "hi", "background": True}
    async with a_site(settings) as site, client_of(site) as client:
        first = await site.http.post("/v1/responses", json=body, headers={"Idempotency-Key": "k"})
        again = await site.http.post("/v1/responses", json=body, headers={"Idempotency-Key": "k"})
        assert again.json()["id"] == first.json()["id"]
        with pytest.raises(openai.ConflictError):
            await client.responses.create(**body, instructions="!", extra_headers={"Idempotency-Key": "k"})
        record = await log.record(first.json()["id"].removeprefix("resp_"))
        assert record is not None
        await site.deps.retries.offer(record.body_digest, record.id, {})
        retry = await site.http.post("/v1/responses", json=body, headers={"x-stainless-retry-count": "1"})
        assert retry.json()["id"] == first.json()["id"]
        await until(lambda: _is_over(site, record.body_digest), "the answer is out")


async def _is_over(site: Site, digest: str) -> bool:
    return await site.deps.retries.take(digest, {}) is None


async def test_a_job_that_redis_drops_under_a_waiting_call_is_asked_for_again(settings: Settings, log: Log) -> None:
    """A 404 would say that the path is wrong."""
    async with a_site(settings) as site, client_of(site) as client:
        waiting = asyncio.create_task(client.responses.create(model="m", input="hi"))
        job_id = await newest_job(site)
        await until(lambda: "watchers=1 " in repr(site.hub), "the call waits")
        await log.delete(job_id)
        await site.hub.evict(job_id)
        with pytest.raises(openai.InternalServerError) as gone:
            await waiting
        assert gone.value.status_code == 503
        assert gone.value.response.headers["x-should-retry"] == "true"


async def test_what_is_kept_of_a_request_counts_and_goes(redis_url: str, redis: ArqRedis, log: Log) -> None:
    """The queue's budget is of all bytes that a request leaves in Redis; `store: false` leaves none but the chat's."""
    settings = short_settings(redis_url, max_queued_bytes=500_000)
    async with a_site(settings) as site, client_of(site) as client:
        first = await client.responses.create(model="m", input="x" * 300_000, background=True)
        for _ in range(2):
            with pytest.raises(openai.RateLimitError):
                await client.responses.create(model="m", input="hi", background=True)
            await command(redis, "DEL", settings.keys.weight)  # the next one counts anew
        await client.responses.delete(first.id)
        assert not await command(redis, "EXISTS", settings.keys.job(job_of(first)))
        stream = await client.responses.create(model="m", input="hi", store=False, stream=True)
        second = await first_response(stream)
        fields = await command(
            redis, "HMGET", settings.keys.job(job_of(second)), "response", "response_input", "thread"
        )
        assert fields == [b'{"store":false}', None, None]
        await stream.close()


async def test_a_request_names_items_of_some_responses_and_of_none_that_is_hidden(settings: Settings, log: Log) -> None:
    """Another owner's response is unknown: as one to read, to follow, or to take an item of."""
    async with a_site(settings, Owners(hides=True)) as site:
        ann, bob = (client_of(site).with_options(api_key=name) for name in ("ann", "bob"))
        response = await ann.responses.create(model="m", input="hi", background=True, metadata={"ticket": "7"})
        assert response.metadata == {"ticket": "7"}
        player = await Player.start(log, job_of(response))
        await player.append(content("1"))
        await player.finish(finish_reason="stop", content="1")
        named: Any = [{"type": "item_reference", "id": f"msg_{player.job_id}"}]
        follows: list[dict[str, Any]] = [{"input": named}, {"input": "2", "previous_response_id": response.id}]
        for body in follows:
            with pytest.raises(openai.BadRequestError, match="not found"):
                await bob.responses.create(model="m", background=True, **body)
            await ann.responses.create(model="m", background=True, **body)
        for call in (bob.responses.retrieve, bob.responses.cancel, bob.responses.delete):
            with pytest.raises(openai.NotFoundError):
                await call(response.id)
        many: Any = [{"type": "item_reference", "id": f"msg_{number:022}"} for number in range(65)]
        with pytest.raises(openai.BadRequestError, match="64 responses"):
            await ann.responses.create(model="m", input=many)
        for client in (ann, bob):
            await client.close()
