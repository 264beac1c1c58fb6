"""A submit reaches the model unchanged and once; three places show its result."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from readalong.testing import tokens_for
from tests.e2e.jobs import Job, chat, paced, submit
from tests.support.client import Response, call
from tests.support.history import kinds
from tests.support.stack import Stack

#: Every parameter of OpenAI's chat completions, and some unknown ones.
EVERYTHING: dict[str, Any] = {
    "audio": {"format": "wav", "voice": "alloy"},
    "frequency_penalty": -0.5,
    "function_call": "none",
    "functions": [{"name": "old", "description": "ü\u2028", "parameters": {"type": "object", "properties": {}}}],
    "logit_bias": {"50256": -100},
    "logprobs": False,
    "max_completion_tokens": 30,
    "max_tokens": 30,
    "modalities": ["text"],
    "moderation": {"policy": "strict"},
    "n": 1,
    "parallel_tool_calls": True,
    "prediction": {"type": "content", "content": "guess"},
    "presence_penalty": 1.5,
    "prompt_cache_key": "cache",
    "prompt_cache_options": {"ttl": "1h"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "low",
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
    "safety_identifier": "user-7",
    "seed": 9007199254740993,
    "service_tier": "auto",
    "stop": ["never said", "never said either"],
    "store": True,
    "metadata": {"ours": "1"},
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "temperature": 0.30000000000000004,
    "tool_choice": "none",
    "tools": [
        {"type": "function", "function": {"name": "new", "strict": True}},
        {"type": "custom", "custom": {"name": "c"}},
    ],
    "top_logprobs": 0,
    "top_p": 1,
    "user": "ada",
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
    "a_parameter_of_next_year": {"deep": [1, 2.5, None, True, {"": ""}]},
    "top_k": 40,
    "repetition_penalty": 1.1,
    "chat_template_kwargs": {"enable_thinking": False},
}
MESSAGES = [
    {"role": "developer", "content": "Be brief.", "name": "dev"},
    {
        "role": "user",
        "content": [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "data:,x"}}],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "new", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "42"},
]


async def test_every_parameter_of_openais_and_every_other_arrives_at_the_model_unchanged(stack: Stack) -> None:
    """Messages too, with all their fields; readalong adds `stream` only."""
    body = chat("demo-fast", **EVERYTHING)
    body["messages"] = [*MESSAGES, *body["messages"]]
    job = await submit(stack, body)
    assert (await job.ended())["status"] == "done"
    [made] = stack.generations(job.question)
    assert made["body"] == {**body, "stream": True}
    assert "request" not in stack.hash_of(job.id), "it has ended"


async def test_the_options_of_a_job_are_in_its_hash_and_not_in_the_models_request(stack: Stack) -> None:
    terms = {"on_worker_lost": "fail", "deadline": 90.5, "cancel_on_disconnect": False}
    body = chat("demo-fast")
    job = await submit(stack, {**body, **terms})
    shown = await job.ended()
    assert shown["status"] == "done"
    [made] = stack.generations(job.question)
    assert made["body"].keys() == {*body, "stream", "stream_options"}
    held = stack.hash_of(job.id)
    assert (held["on_worker_lost"], held["cancel_on_disconnect"]) == ("fail", "0")
    assert int(held["deadline"]) == int(held["created_at"]) + 90_500
    assert (shown["on_worker_lost"], shown["cancel_on_disconnect"]) == ("fail", False)


async def test_what_the_client_leaves_out_is_left_out_besides_the_question_for_usage(
    stack: Stack,
) -> None:
    """`metadata` stays with readalong unless the model is asked to store it."""
    body = {**chat("demo-fast"), "metadata": {"ours": "1"}, "stream": False}
    job = await submit(stack, body)
    assert (await job.ended())["metadata"] == {"ours": "1"}
    [made] = stack.generations(job.question)
    expected = {
        "model": "demo-fast",
        "messages": body["messages"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert made["body"] == expected


async def test_a_submit_that_is_repeated_after_a_lost_reply_makes_one_job_and_one_generation(stack: Stack) -> None:
    """The client disconnects before the response, and asks again on both replicas with the same key."""
    body = paced(tokens=5, rate=0)
    key = {"Idempotency-Key": f"key of {body['messages'][0]['content']}"}
    lost = await Response.send("POST", f"{stack.url}/v1/jobs", json.dumps(body).encode(), key)
    async with lost:
        jobs = await asyncio.gather(*(submit(stack, body, url=url, headers=key) for url in stack.urls * 5))
    assert len({job.id for job in jobs}) == 1
    assert (await jobs[0].ended())["content"] == jobs[0].text
    again = await submit(stack, body, headers=key)
    assert again.id == jobs[0].id
    assert len(stack.generations(again.question)) == 1
    other = await call("POST", f"{stack.url}/v1/jobs", {**body, "seed": 1}, key)
    assert (other.status, other.json()["code"]) == (409, "idempotency_conflict")


async def test_progress_is_on_the_terminal_event_in_the_hash_and_in_the_job(stack: Stack) -> None:
    """Times that fit together, the counted pieces of the model, and its own counts."""
    job = await submit(stack, paced(tokens=40, rate=100, first_token_seconds=0.2))
    shown = await job.ended()
    end = stack.log_of(job.id)[-1].fields
    stored = stack.hash_of(job.id)
    metrics, usage = end["metrics"], end["usage"]
    assert json.loads(stored["metrics"]) == shown["metrics"] == metrics
    assert json.loads(stored["usage"]) == shown["usage"] == usage
    assert 0 <= metrics["queue_seconds"] <= metrics["time_to_first_token"] <= metrics["total_seconds"]
    assert 0.2 <= metrics["time_to_first_token_from_call"] <= metrics["time_to_first_token"]
    assert (
        metrics["chunk_count"]
        == usage["completion_tokens"]
        == metrics["completion_tokens"]
        == len(tokens_for(job.body))
    )
    assert metrics["prompt_tokens"] == usage["prompt_tokens"] > 0
    assert metrics["tokens_per_second"] > 0
    assert stored["finish_reason"] == shown["finish_reason"] == end["finish_reason"] == "stop"
    assert shown["created_at"] <= shown["started_at"] <= shown["ended_at"]


async def test_every_event_type_is_seen_from_the_model_to_the_watcher(stack: Stack) -> None:
    """Each through queue, worker, Redis and API; `restarted` by a worker's death."""
    tools = [{"type": "function", "function": {"name": "look_up"}}]
    functions = [{"name": "look_up", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}]
    doomed = await submit(stack, paced(tokens=30, rate=20))
    await doomed.reach(4)
    (await doomed.worker()).kill()
    endless = await submit(stack, chat("demo-endless"))
    jobs = [
        doomed,
        endless,
        await submit(stack, chat("demo-fast+reasoning")),
        await submit(stack, chat("demo-fast+refusal")),
        await submit(stack, chat("demo-fast+tools", tools=tools)),
        await submit(stack, chat("demo-fast", "Please look_up this", functions=functions)),
        await submit(stack, chat("demo-fast+error")),
    ]
    watchers = [asyncio.create_task(job.watcher(resumes=False).run()) for job in jobs]
    await endless.reach(4)
    await endless.cancel()
    seen = [kinds((await watcher).history) for watcher in watchers]
    assert {kind for history in seen for kind in history} == {
        "queued",
        "started",
        "restarted",
        "content",
        "reasoning",
        "refusal",
        "tool_call_delta",
        "tool_call",
        "function_call",
        "done",
        "failed",
        "cancelled",
    }
    await _assert_function_called(jobs[5])


async def _assert_function_called(job: Job) -> None:
    """The legacy form, whole, with parsed arguments, in the log and in the job."""
    shown = await job.ended()
    [called] = [entry.fields for entry in job.stack.log_of(job.id) if entry.event == "function_call"]
    assert called == shown["function_call"]
    assert (called["name"], shown["finish_reason"]) == ("look_up", "function_call")
    assert called["arguments"]["q"]
