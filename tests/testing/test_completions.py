"""A well-behaved model: streams, single bodies, usage, choices, the other routes."""

from __future__ import annotations

import time
from typing import Any

import orjson
from openai import AsyncAzureOpenAI

from readalong.testing import Behaviour, text_for, tokens_for
from tests.support.waiting import WITHIN
from tests.testing.support import MESSAGES, ask, deltas, finish, running, text


async def test_the_openai_package_streams_the_expected_text() -> None:
    async with running() as server:
        stream: Any = await server.create(
            model="demo-fast",
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert told == text_for(ask())
        assert chunks[-1].choices == []
        assert chunks[-1].usage.completion_tokens == len(chunks) - 3
        assert {chunk.model for chunk in chunks} == {"demo-fast"}
        assert chunks[-2].choices[0].finish_reason == "stop"


async def test_a_whole_answer_has_the_text_and_usage_of_the_stream() -> None:
    async with running() as server:
        status, raw = await server.post(ask())
        events = await server.events(ask(stream_options={"include_usage": True}))
        body = orjson.loads(raw)
        assert status == 200
        assert body["choices"][0]["message"]["content"] == text(events) == text_for(ask())
        assert body["usage"] == events[-2]["usage"]
        assert events[-1] == "[DONE]"


async def test_without_include_usage_there_is_no_usage_in_the_stream() -> None:
    async with running() as server:
        assert not any("usage" in event for event in (await server.events(ask()))[:-1])


async def test_usage_none_leaves_usage_out_though_asked_for() -> None:
    async with running() as server:
        events = await server.events(ask("demo-usage-none", stream_options={"include_usage": True}))
        _, raw = await server.post(ask("demo-usage-none"))
        assert not any(event.get("usage") for event in events[:-1])
        assert "usage" not in orjson.loads(raw)


async def test_max_tokens_and_length_end_with_the_reason_length() -> None:
    async with running() as server:
        cut = await server.events(ask(max_tokens=5))
        length = await server.events(ask("demo-length"))
        assert (finish(cut), text(cut)) == ("length", text_for(ask(max_tokens=5)))
        assert (finish(length), text(length)) == ("length", text_for(ask("demo-length")))


async def test_a_models_name_may_have_options_and_the_field_goes_over_them() -> None:
    async with running() as server:
        for more, tokens in (({}, 7), ({"demo": {"tokens": 3}}, 3)):
            body = {"model": "demo-fast+tokens=7", "messages": MESSAGES, **more}
            assert text(await server.events({**body, "stream": True})) == text_for(body)
            assert len(tokens_for(body)) == tokens
        status, _ = await server.post({"model": "demo-tokens=7.5", "messages": MESSAGES})
        assert status == 400


async def test_stop_ends_with_the_reason_stop() -> None:
    async with running() as server:
        events = await server.events(ask(stop=["Redis"]))
        assert finish(events) == "stop"
        assert text(events) == text_for(ask(stop=["Redis"]))


async def test_choices_take_turns_and_each_has_its_own_text_and_end() -> None:
    async with running() as server:
        events = await server.events(ask("demo-choices", n=3))
        order = [event["choices"][0]["index"] for event in events[:9]]
        assert order == [0, 1, 2] * 3
        for choice in range(3):
            assert text(events, choice) == text_for(ask(n=3), choice)
            assert finish(events, choice) == "stop"
        _, raw = await server.post(ask(n=2))
        assert len(orjson.loads(raw)["choices"]) == 2


async def test_reasoning_comes_before_content() -> None:
    async with running() as server:
        events = await server.events(ask("demo-reasoning", stream_options={"include_usage": True}))
        kinds = ["reasoning" if "reasoning_content" in delta else "content" for delta in deltas(events)[1:-1]]
        assert kinds == sorted(kinds, reverse=True)
        assert events[-2]["usage"]["completion_tokens_details"]["reasoning_tokens"] == kinds.count("reasoning")
        _, raw = await server.post(ask("demo-reasoning"))
        thought = "".join(delta.get("reasoning_content", "") for delta in deltas(events))
        assert orjson.loads(raw)["choices"][0]["message"]["reasoning_content"] == thought


async def test_a_refusal_comes_in_refusal_deltas_without_content() -> None:
    async with running() as server:
        events = await server.events(ask("demo-refusal"))
        refused = "".join(delta.get("refusal") or "" for delta in deltas(events))
        assert refused.startswith("I am sorry")
        assert text(events) == ""
        _, raw = await server.post(ask("demo-refusal"))
        message = orjson.loads(raw)["choices"][0]["message"]
        assert (message["refusal"], message["content"]) == (refused, None)


async def test_logprobs_stay_with_their_tokens() -> None:
    async with running() as server:
        events = await server.events(ask("demo-logprobs", top_logprobs=2))
        for event in events[1:-2]:
            shown = event["choices"][0]
            (entry,) = shown["logprobs"]["content"]
            assert entry["token"] == shown["delta"]["content"]
            assert bytes(entry["bytes"]).decode() == entry["token"]
            assert len(entry["top_logprobs"]) == 2


async def test_unicode_text_arrives_as_it_was_told() -> None:
    async with running() as server:
        assert text(await server.events(ask("demo-unicode"))) == text_for(ask("demo-unicode"))


async def test_azures_path_takes_the_deployment_for_the_model_and_adds_its_filters() -> None:
    async with running() as server:
        path = "/openai/deployments/demo-fast/chat/completions?api-version=2024-10-21"
        events = await server.events(ask("ignored"), path)
        assert events[0]["choices"] == []
        assert events[0]["prompt_filter_results"][0]["prompt_index"] == 0
        bare = [e for e in events[1:-1] if e["choices"] and "delta" not in e["choices"][0]]
        assert len(bare) == 1
        assert events[1]["model"] == "demo-fast"
        assert text(events) == text_for(ask())
        status, _ = await server.post(ask(), path.split("?", maxsplit=1)[0])
        assert status == 404


async def test_demo_azure_streams_the_same_on_the_plain_path() -> None:
    async with running() as server:
        events = await server.events(ask("demo-azure", demo={"after": 3}))
        assert "prompt_filter_results" in events[0]
        assert "content_filter_offsets" in events[5]["choices"][0]


async def test_the_azure_client_reads_a_deployment() -> None:
    async with running() as server:
        client = AsyncAzureOpenAI(
            azure_endpoint=server.root, api_key="k", api_version="2024-10-21", max_retries=0, timeout=WITHIN
        )
        create: Any = client.chat.completions.create
        async with client:
            stream = await create(
                model="demo-fast",
                messages=MESSAGES,
                stream=True,
            )
            chunks = [c async for c in stream]
        told = [c.choices[0].delta.content or "" for c in chunks if c.choices and c.choices[0].delta]
        assert "".join(told) == text_for(ask())


async def test_a_stream_keeps_its_pace() -> None:
    async with running() as server:
        start = time.monotonic()
        await server.events(ask(demo={"tokens_per_second": 100, "tokens": 40}))
        assert time.monotonic() - start >= 0.38


async def test_a_slow_first_token_comes_after_the_headers() -> None:
    async with running() as server, server.raw(ask(demo={"first_token_seconds": 0.3})) as reader:
        await reader.readuntil(b"\r\n\r\n")
        start = time.monotonic()
        await reader.readuntil(b"data: ")
        assert time.monotonic() - start >= 0.25


async def test_the_model_named_slow_first_token_waits_three_seconds_by_default() -> None:
    async with running() as server:
        stream = server.raw({"model": "demo-slow-first-token", "messages": MESSAGES})
        async with stream as reader:
            await reader.readuntil(b"\r\n\r\n")
            start = time.monotonic()
            await reader.readuntil(b"data: ")
            assert time.monotonic() - start >= 2.9


async def test_models_lists_every_behaviour() -> None:
    async with running() as server:
        names = {model.id async for model in server.client.models.list()}
        assert names == {"demo", *(f"demo-{behaviour}" for behaviour in Behaviour)}


async def test_health_answers_and_an_unknown_url_is_told_so() -> None:
    async with running() as server:
        async with server.http.get(f"{server.root}/healthz") as response:
            assert await response.json() == {"status": "ok"}
        async with server.http.get(f"{server.root}/v2") as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "unknown_url"
