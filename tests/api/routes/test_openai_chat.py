"""`POST /v1/chat/completions` through OpenAI's own SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import orjson
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Player
from tests.api.serving import Site, a_site, on_valkey, short_settings
from tests.support.waiting import WITHIN, until

pytestmark = on_valkey

MESSAGES: list[Any] = [{"role": "user", "content": "hi"}]
BODY = orjson.dumps({"model": "m", "messages": MESSAGES, "stream": True})
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


@asynccontextmanager
async def sdk(site: Site, **options: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """The SDK as it is installed, at the site."""
    base = f"http://127.0.0.1:{site.port}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key="k", timeout=WITHIN, **options) as client:
        yield client


async def give_up(call: asyncio.Task[Any]) -> None:
    """Cancels a call as a client does: its connection is closed."""
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def newest_job(site: Site, count: int = 1) -> str:
    """The id of the newest job, when there are so many."""
    found: list[Any] = []

    async def there() -> bool:
        found[:] = (await site.http.get("/v1/jobs")).json()["jobs"]
        return len(found) >= count

    await until(there, f"{count} jobs")
    return str(found[0]["id"])


async def answer(site: Site, log: Log, *pieces: str, **end: Any) -> str:
    """Plays the worker of the newest job. Returns its id."""
    player = await Player.start(log, await newest_job(site))
    await player.append(*(NewEvent("content", {"content": piece}) for piece in pieces))
    await player.finish(**({"content": "".join(pieces), "finish_reason": "stop", "usage": USAGE} | end))
    return player.job_id


async def test_a_stream_is_the_job_for_the_sdks_helper_too(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, sdk(site) as client, asyncio.timeout(WITHIN):
        playing = asyncio.create_task(answer(site, log, "Hel", "lo"))
        options: Any = {"include_usage": True}
        async with client.chat.completions.stream(model="m", messages=MESSAGES, stream_options=options) as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_completion()
        assert (final.id, final.choices[0].message.content) == (f"chatcmpl-{await playing}", "Hello")
        assert (final.choices[0].finish_reason, final.usage and final.usage.total_tokens) == ("stop", 3)
        assert kinds.count("content.delta") == 3
        assert "content.done" in kinds


async def test_a_whole_answer_comes_when_the_job_has_ended_and_names_it(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, sdk(site) as client, asyncio.timeout(WITHIN):
        playing = asyncio.create_task(answer(site, log, "Hel", "lo"))
        raw = await client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
        job_id, completion = await playing, raw.parse()
        assert (completion.id, completion.choices[0].message.content) == (f"chatcmpl-{job_id}", "Hello")
        path = f"/v1/jobs/{job_id}"
        assert (raw.headers["x-job-id"], raw.headers["location"]) == (job_id, path)
        assert raw.headers["link"] == f'<{path}/events>; rel="events", <{path}/cancel>; rel="cancel"'
        assert raw.request_id is not None
        again = await client.chat.completions.retrieve(completion.id)
        assert again.choices == completion.choices


async def test_a_request_without_a_model_gets_the_servers(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, asyncio.timeout(WITHIN):
        playing = asyncio.create_task(answer(site, log, "a"))
        completion = (await site.http.post("/v1/chat/completions", json={"messages": MESSAGES})).json()
        assert (completion["model"], completion["id"]) == (settings.model, f"chatcmpl-{await playing}")


async def test_a_response_format_is_parsed_by_the_sdk(settings: Settings, log: Log) -> None:
    class Point(BaseModel):
        x: int

    async with a_site(settings) as site, sdk(site) as client, asyncio.timeout(WITHIN):
        playing = asyncio.create_task(answer(site, log, '{"x":', "1}"))
        parsed = await client.chat.completions.parse(model="m", messages=MESSAGES, response_format=Point)
        assert parsed.choices[0].message.parsed == Point(x=1)
        await playing


async def test_our_options_ride_in_the_body_and_the_rest_reaches_the_job_untouched(
    settings: Settings, log: Log
) -> None:
    async with a_site(settings) as site, sdk(site) as client, asyncio.timeout(WITHIN):
        playing = asyncio.create_task(newest_job(site))
        extra = {"readalong": {"on_worker_lost": "fail", "cancel_on_disconnect": 7.5}, "new_thing": {"a": 1}}
        asking = asyncio.create_task(
            client.chat.completions.create(model="m", messages=MESSAGES, seed=3, extra_body=extra)
        )
        job_id = await playing
        job = (await site.http.get(f"/v1/jobs/{job_id}")).json()
        assert (job["on_worker_lost"], job["disconnect_grace"]) == ("fail", 7.5)
        request = await log.request(job_id)
        assert request is not None
        body = orjson.loads(request)
        assert (body["seed"], body["new_thing"], "readalong" in body) == (3, {"a": 1}, False)
        await give_up(asking)


REFUSED: list[tuple[dict[str, Any], str, str | None]] = [
    ({"messages": "hi"}, "invalid_type", "messages"),
    ({"messages": [{"role": "user"}, 1]}, "invalid_type", "messages[1]"),
    ({"input": "hi"}, "missing_required_parameter", "messages"),
    ({"messages": MESSAGES, "stream": "yes"}, "invalid_type", "stream"),
    ({"messages": MESSAGES, "stream_options": {}}, "invalid_value", "stream_options"),
    ({"messages": MESSAGES, "stream": True, "stream_options": 1}, "invalid_type", "stream_options"),
    (
        {"messages": MESSAGES, "stream": True, "stream_options": {"include_obfuscation": True}},
        "unsupported_parameter",
        "stream_options.include_obfuscation",
    ),
    (
        {"messages": MESSAGES, "stream": True, "stream_options": {"include_usage": 1}},
        "invalid_type",
        "stream_options.include_usage",
    ),
    ({"messages": MESSAGES, "readalong": 1}, "invalid_type", "readalong"),
    ({"messages": MESSAGES, "readalong": {"thred": "t"}}, "unknown_parameter", "readalong.thred"),
    ({"messages": MESSAGES, "readalong": {"deadline": -1}}, "invalid_value", "deadline"),
    ({"messages": MESSAGES, "n": 0}, "invalid_value", "n"),
]


async def test_what_cannot_be_honoured_is_refused_by_name(settings: Settings) -> None:
    async with a_site(settings) as site, sdk(site) as client:
        for body, code, param in REFUSED:
            with pytest.raises(openai.BadRequestError) as raised:
                await client.post("/chat/completions", cast_to=ChatCompletion, body=body)
            assert (raised.value.code, raised.value.param) == (code, param), body
        assert (await site.http.get("/v1/jobs")).json()["jobs"] == []


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_job_that_fails_before_it_says_something_is_an_exception_with_a_status_and_is_not_repeated(
    settings: Settings, log: Log, stream: bool, own: bool
) -> None:
    """A repeat would be another generation, which the job's own terms do not allow. `own`: the model has named what is
    wrong."""
    error = {"code": "model_bad_request", "message": "The model answered 400: no such tool.", "retryable": False}
    named: dict[str, Any] = {"param": "tools.0", "model_code": "no_tool"} if own else {}
    code, param = ("no_tool", "tools.0") if own else ("model_bad_request", None)
    async with a_site(settings) as site, sdk(site) as client, asyncio.timeout(WITHIN):
        playing = asyncio.create_task(answer(site, log, kind="failed", error={**error, **named}))
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.create(model="m", messages=MESSAGES, stream=stream)
        assert (raised.value.code, raised.value.param) == (code, param)
        assert raised.value.response.headers["x-job-id"] == await playing
        assert len((await site.http.get("/v1/jobs")).json()["jobs"]) == 1


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ({"code": "model_cut"}, ("model_cut", "server_error", None)),
        (
            {"code": "model_bad_request", "param": "n", "model_code": "too_many"},
            ("too_many", "invalid_request_error", "n"),
        ),
    ],
)
async def test_a_job_that_fails_in_its_answer_is_an_exception_of_the_stream(
    settings: Settings, log: Log, error: dict[str, Any], shown: tuple[str, str, str | None]
) -> None:
    error = {**error, "message": "The model broke off.", "retryable": True}
    async with a_site(settings) as site, sdk(site) as client, asyncio.timeout(WITHIN):
        playing = asyncio.create_task(answer(site, log, "a", kind="failed", error=error))
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIError) as raised:
            async for _ in stream:
                pass
        assert (raised.value.code, raised.value.type, raised.value.param) == shown
        await playing


async def test_a_lost_worker_ends_a_stream_with_text_by_an_error_that_names_the_job(
    settings: Settings, log: Log
) -> None:
    async with a_site(settings) as site, sdk(site) as client, asyncio.timeout(WITHIN):
        asking = asyncio.create_task(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
        whole = asyncio.create_task(client.chat.completions.create(model="m", messages=MESSAGES, n=1))
        await newest_job(site, 2)
        jobs = (await site.http.get("/v1/jobs")).json()["jobs"]
        players = [await Player.start(log, job["id"]) for job in jobs]
        for player in players:
            await player.say(1)
        stream = await asking
        assert (await anext(stream)).choices[0].delta.role == "assistant"
        assert (await anext(stream)).choices[0].delta.content == "3 "
        for player in players:
            await player.claim("second")
            await player.say(1)
        with pytest.raises(openai.APIError) as raised:
            await anext(stream)
        body: Any = raised.value.body
        assert (body["code"], body["events"]) == ("restarted", f"/v1/jobs/{body['job_id']}/events")
        for player in players:
            await player.finish(finish_reason="stop")
        # A whole answer only takes longer.
        assert (await whole).choices[0].message.content == "5 "


async def test_a_process_that_stops_ends_a_stream_by_an_error_that_names_the_job(settings: Settings, log: Log) -> None:
    """The SDK takes a stream that ends without an error for a whole answer."""
    async with a_site(settings) as site, sdk(site) as client, asyncio.timeout(WITHIN):
        asking = asyncio.create_task(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
        player = await Player.start(log, await newest_job(site))
        await player.say(1)
        stream = await asking
        assert [(await anext(stream)).choices[0].delta.content for _ in range(2)] == ["", "3 "]
        closing = asyncio.create_task(site.hub.close())
        with pytest.raises(openai.APIError) as raised:
            await anext(stream)
        await closing
        body: Any = raised.value.body
        assert (body["code"], body["events"]) == ("interrupted", f"/v1/jobs/{body['job_id']}/events")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_gives_up_has_left_the_job(redis_url: str, log: Log, stream: bool) -> None:
    """Presence is told to Redis, by which a worker cancels the job after its grace."""
    async with a_site(short_settings(redis_url)) as site, sdk(site) as client, asyncio.timeout(WITHIN):
        asking = asyncio.create_task(client.chat.completions.create(model="m", messages=MESSAGES, stream=stream))
        job_id = await newest_job(site)
        name = site.deps.settings.keys.watchers(job_id)
        await until(lambda: site.deps.redis.command("EXISTS", name), "it is told")
        await give_up(asking)
        await until(lambda: "watchers=0 " in repr(site.hub), "it has left")

        async def gone() -> bool:
            return not await site.deps.redis.command("EXISTS", name)

        await until(gone, "that is told too")
        assert (await site.http.get(f"/v1/jobs/{job_id}")).json()["cancel_on_disconnect"] is True


async def test_a_call_that_the_sdk_repeats_after_a_lost_reply_is_one_job(settings: Settings, log: Log) -> None:
    """The client gives the first reply up; its repeat has only a count."""
    async with a_site(settings) as site, asyncio.timeout(WITHIN):
        lost: list[str] = []

        class Losing(httpx2.AsyncBaseTransport):
            """Loses the first reply when the job is there."""

            def __init__(self) -> None:
                self.inner = httpx2.AsyncHTTPTransport()

            async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
                if lost:
                    lost.append(request.headers["x-stainless-retry-count"])
                    return await self.inner.handle_async_request(request)
                sending = asyncio.create_task(self.inner.handle_async_request(request))
                lost.append(await newest_job(site))
                await give_up(sending)
                raise httpx2.ReadError("lost", request=request)

            async def aclose(self) -> None:
                await self.inner.aclose()

        async with httpx2.AsyncClient(transport=Losing()) as http, sdk(site, http_client=http) as client:
            asking = asyncio.create_task(client.chat.completions.create(model="m", messages=MESSAGES))
            await until(lambda: len(lost) == 2, "the repeat")
            await until(lambda: "watchers=1 " in repr(site.hub), "it waits")
            job_id = await answer(site, log, "once")
            assert (await asking).id == f"chatcmpl-{job_id}"
        assert lost == [job_id, "1"]
        assert len((await site.http.get("/v1/jobs")).json()["jobs"]) == 1
        # The answer is out: a repeat of another call gets a job of its own.
        name = settings.keys.repeats((await site.deps.log.record(job_id) or pytest.fail("gone")).body_digest)

        async def ended() -> bool:
            return not await site.deps.redis.command("EXISTS", name)

        await until(ended, "the offer ends")


async def test_a_stream_with_a_first_chunk_is_no_offer_to_repeats(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, asyncio.timeout(WITHIN):
        opening = asyncio.create_task(
            site.open("/v1/chat/completions", method="POST", body=BODY, headers=["Content-Type: application/json"])
        )
        player = await Player.start(log, await newest_job(site))
        record = await site.deps.log.record(player.job_id)
        assert record is not None
        name = settings.keys.repeats(record.body_digest)
        assert await site.deps.redis.command("EXISTS", name) == 1
        await player.say(1)
        stream = await opening

        async def ended() -> bool:
            return not await site.deps.redis.command("EXISTS", name)

        await until(ended, "the offer ends")
        stream.vanish()


async def test_a_full_queue_is_a_rate_limit_with_its_time(redis_url: str) -> None:
    async with a_site(short_settings(redis_url, max_queued=1)) as site, sdk(site, max_retries=0) as client:
        asking = asyncio.create_task(client.chat.completions.create(model="m", messages=MESSAGES))
        await newest_job(site)
        with pytest.raises(openai.RateLimitError) as raised:
            await client.chat.completions.create(model="m", messages=MESSAGES)
        assert (raised.value.code, raised.value.response.headers["retry-after"]) == ("rate_limit_exceeded", "5")
        await give_up(asking)
