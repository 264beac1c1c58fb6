"""One job through a real worker: each behaviour of the demo model gives its events and its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from readalong.core.events import Event, merge
from readalong.core.settings import Settings
from readalong.testing import text_for
from tests.readalong.helpers import command, types
from tests.worker.helpers import Backend, demo_at, settings_for, text_of, working

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": fields}}}
    for name, fields in (
        ("look_up", {"query": {"type": "string"}}),
        ("count", {"limit": {"type": "integer"}, "exact": {"type": "boolean"}}),
    )
]


class Ran:
    """A job that has ended."""

    def __init__(self, job_id: str, body: dict[str, Any], events: list[Event], stats: dict[str, Any]) -> None:
        self.id = job_id
        self.body = body
        self.events = events
        self.names = types(events)
        self.end = events[-1].fields()
        self.text = text_of(events)
        self.stats = stats

    @property
    def failure(self) -> tuple[str, str, bool]:
        """Returns the end's type, the error's code, and whether a retry may help."""
        error = self.end["error"]
        assert error["message"]
        return self.names[-1], error["code"], error["retryable"]


async def run(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, model: str, *, rate: float | None = 3000, **given: Any
) -> Ran:
    """Runs one job of the demo model to its end: 60 tokens, unless `demo` says otherwise.

    `given` are settings by their names, and fields of the body.
    """
    given["demo"] = {"tokens": 60, **given.get("demo", {})}
    names = set(Settings.model_fields) - {"model"}
    changes = {name: given.pop(name) for name in list(given) if name in names}
    settings = settings_for(str(backend.settings.redis_url), **changes)
    async with demo_at(monkeypatch) as demo, working(settings):
        job_id = await backend.submit(model, rate=rate, **given)
        events = await backend.ended(job_id)
        body = orjson.loads(await command(backend.redis, "HGET", backend.keys.job(job_id), "request"))
        return Ran(job_id, body, events, await demo.left_alone())


def said(events: Sequence[Event], kind: str) -> list[dict[str, Any]]:
    return [event.fields() for event in events if event.type == kind]


async def test_an_ordinary_answer_is_told_whole_with_its_metrics(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = await run(backend, monkeypatch, "demo", demo={"first_token_seconds": 0.05})
    assert ran.text == ran.end["content"] == text_for(ran.body)
    assert ran.end["finish_reason"] == "stop"
    metrics = ran.end["metrics"]
    usage = ran.end["usage"]
    sent = ran.stats["streams"].popitem()[1]["tokens"]
    assert usage["completion_tokens"] == metrics["completion_tokens"] == metrics["chunk_count"] == sent
    assert (metrics["prompt_tokens"], metrics["total_tokens"]) == (usage["prompt_tokens"], usage["total_tokens"])
    assert 0 <= metrics["queue_seconds"] <= metrics["time_to_first_token"] <= metrics["total_seconds"] < 20
    assert 0.05 <= metrics["time_to_first_token_from_call"] <= metrics["time_to_first_token"]
    assert metrics["tokens_per_second"] >= sent / metrics["total_seconds"]


async def test_the_log_of_an_ended_job_is_stored_in_few_entries(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events read the same, piece by piece."""
    ran = await run(backend, monkeypatch, "demo", rate=40)
    assert ran.names.count("content") > 5
    assert ran.text == text_for(ran.body)
    entries = await backend.redis.xrange(backend.keys.events(ran.id))
    assert [int(entry_id[:-2]) for entry_id, _ in entries] == [event.seq for event in merge(ran.events)]
    assert len(entries) < 7
    assert await backend.events(ran.id) == ran.events


async def test_the_hash_holds_what_the_end_told(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await run(backend, monkeypatch, "demo-fast")
    record = await backend.record(ran.id)
    assert (record.status, record.attempt, record.last_seq) == ("done", 1, len(ran.events))
    assert (record.finish_reason, record.error) == ("stop", None)
    assert (record.metrics, record.usage) == (ran.end["metrics"], ran.end["usage"])
    assert record.worker == {"id": "w1", "host": "h", "pid": 1}
    assert record.started_at is not None
    assert record.ended_at is not None
    assert record.created_at <= record.started_at <= record.ended_at
    epoch = record.epochs.removeprefix("2:")
    assert ran.events[1].fields() == {"attempt": 1, "epoch": epoch, "worker": record.worker}


async def test_a_fast_model_gives_far_fewer_events_than_pieces(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that are added while an append is in flight are sent with the next one."""
    ran = await run(backend, monkeypatch, "demo-fast", rate=None, demo={"tokens": 5000})
    assert ran.end["metrics"]["chunk_count"] == 5000
    assert len(ran.events) < 500
    assert ran.text == ran.end["content"] == text_for(ran.body)


@pytest.mark.parametrize("behaviour", ["unicode", "unicode+split", "unicode+crlf", "azure", "split", "crlf", "length"])
async def test_the_text_is_the_models_own(backend: Backend, monkeypatch: pytest.MonkeyPatch, behaviour: str) -> None:
    model = f"demo-{behaviour}"
    rate = 0 if "split" in behaviour else 3000
    ran = await run(backend, monkeypatch, model, rate=rate)
    assert ran.text == ran.end["content"] == text_for(ran.body)
    assert ran.end["finish_reason"] == ("length" if behaviour == "length" else "stop")
    assert ran.names[-1] == "done"


async def test_azures_filter_results_ride_with_the_events(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await run(backend, monkeypatch, "demo-azure")
    extras = [fields["extra"] for event in ran.events if "extra" in (fields := event.fields())]
    assert "prompt_filter_results" in extras[0]
    assert extras[0]["id"].startswith("chatcmpl-")
    assert any("choices.0.content_filter_results" in extra for extra in extras)


async def test_a_slow_first_token_is_waited_for(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await run(backend, monkeypatch, "demo-slow-first-token", demo={"first_token_seconds": 0.6})
    assert ran.names[-1] == "done"
    assert ran.end["metrics"]["time_to_first_token_from_call"] >= 0.6


@pytest.mark.parametrize("model", ["demo-slow-first-token", "demo-hang"])
async def test_a_first_token_that_does_not_come_in_time_is_a_timeout(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    ran = await run(
        backend, monkeypatch, model, demo={"first_token_seconds": 30}, first_token_timeout=1.5, stall_timeout=0.1
    )
    assert ran.failure == ("failed", "model_timeout", True)
    assert ran.names == ["queued", "started", "failed"]
    assert ran.stats["gone"] == 1
    assert ran.end["metrics"]["time_to_first_token"] is None


async def test_a_model_that_falls_silent_has_stalled(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await run(backend, monkeypatch, "demo-stall", demo={"after": 7}, stall_timeout=1)
    assert ran.failure == ("failed", "model_stalled", True)
    assert ran.text == ran.end["content"]
    assert (ran.end["metrics"]["chunk_count"], ran.stats["gone"]) == (7, 1)


@pytest.mark.parametrize("model", ["demo-cut", "demo-reset", "demo-close-early"])
async def test_a_model_that_breaks_off_fails_the_job_with_what_was_said(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    ran = await run(backend, monkeypatch, model, demo={"after": 7})
    assert ran.failure == ("failed", "model_cut", True)
    assert ran.text == ran.end["content"]
    assert ran.text
    assert len(ran.stats["requests"]) == 1
    assert (await backend.record(ran.id)).error == ran.end["error"]


@pytest.mark.parametrize(("model", "reason"), [("demo-cut", "model_cut"), ("demo-stall", "model_stalled")])
async def test_a_cut_starts_a_new_attempt_if_the_settings_say_so_until_they_are_used_up(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, model: str, reason: str
) -> None:
    ran = await run(
        backend, monkeypatch, model, demo={"after": 5}, on_model_disconnect="retry", max_attempts=3, stall_timeout=1
    )
    assert ran.failure == ("failed", reason, True)
    assert [(fields["attempt"], fields["reason"]) for fields in said(ran.events, "restarted")] == [
        (2, reason),
        (3, reason),
    ]
    assert len(ran.stats["requests"]) == 3
    assert (await backend.record(ran.id)).status == "failed"


@pytest.mark.parametrize("model", ["demo-429", "demo-500"])
async def test_a_model_that_refuses_at_first_is_asked_again(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    ran = await run(backend, monkeypatch, model, demo={"times": 1, "key": "k", "retry_after": 0.1})
    assert ran.names[-1] == "done"
    assert "restarted" not in ran.names
    assert len(ran.stats["requests"]) == 2


@pytest.mark.parametrize(("model", "code"), [("demo-429", "model_rate_limited"), ("demo-500", "model_error")])
async def test_a_model_that_refuses_too_often_fails_the_job(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, model: str, code: str
) -> None:
    ran = await run(backend, monkeypatch, model, demo={"retry_after": 0.05}, model_retries=1)
    assert ran.failure == ("failed", code, True)
    assert ran.names == ["queued", "started", "failed"]
    assert len(ran.stats["requests"]) == 2


async def test_without_retries_the_first_refusal_counts(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await run(backend, monkeypatch, "demo-500", model_retries=0)
    assert len(ran.stats["requests"]) == 1


async def test_a_wait_that_is_too_long_is_not_waited(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await run(backend, monkeypatch, "demo-429", demo={"retry_after": 61})
    assert ran.failure == ("failed", "model_rate_limited", True)
    assert len(ran.stats["requests"]) == 1


@pytest.mark.parametrize("limit", ["job_timeout", "first_token_timeout"])
async def test_a_wait_that_would_pass_the_jobs_time_is_not_begun(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """The job fails at once with the model's error, and not much later with a time limit."""
    ran = await run(backend, monkeypatch, "demo-429", demo={"retry_after": 30}, **{limit: 25})
    assert ran.failure == ("failed", "model_rate_limited", True)
    assert len(ran.stats["requests"]) == 1
    assert ran.end["metrics"]["total_seconds"] < 25


async def test_an_endless_answer_ends_with_the_jobs_time_and_what_was_said(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = await run(backend, monkeypatch, "demo-endless", rate=500, job_timeout=2, demo={"tokens": 200_000})
    assert ran.failure == ("failed", "job_timeout", True)
    assert ran.text == ran.end["content"] != ""
    assert (len(ran.stats["requests"]), ran.stats["gone"]) == (1, 1)


async def test_waits_before_retries_grow_and_are_jittered(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never shorter than the step, so that a server that asks for patience gets it."""
    asked: list[tuple[float, float]] = []

    def highest(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    monkeypatch.setattr("readalong.worker.model.call.random.uniform", highest)
    ran = await run(backend, monkeypatch, "demo-500", model_retries=2)
    assert asked.count((1.0, 1.25)) == 3
    assert len(ran.stats["requests"]) == 3
    first, second, third = (request["at"] for request in ran.stats["requests"])
    assert second - first >= 0.625 - 0.02
    assert third - second >= 1.25 - 0.02


@pytest.mark.parametrize(("model", "code"), [("demo-malformed", "model_malformed"), ("demo-error", "model_error")])
async def test_what_cannot_be_read_in_mid_stream_fails_the_job_with_what_was_said(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, model: str, code: str
) -> None:
    ran = await run(backend, monkeypatch, model, demo={"after": 9})
    assert ran.failure == ("failed", code, True)
    assert (ran.end["metrics"]["chunk_count"], ran.text) == (9, ran.end["content"])
    assert len(ran.stats["requests"]) == 1


async def test_a_page_in_place_of_a_stream_fails_the_job(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await run(backend, monkeypatch, "demo-not-sse")
    assert ran.failure == ("failed", "model_malformed", False)
    assert len(ran.stats["requests"]) == 1


async def test_a_bad_request_fails_the_job_with_the_models_words(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = await run(backend, monkeypatch, "demo", temperature=9)
    assert ran.failure == ("failed", "model_bad_request", False)
    assert "'temperature'" in ran.end["error"]["message"]


async def test_the_wrong_key_fails_the_job(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    ran = await run(backend, monkeypatch, "demo")
    assert ran.failure == ("failed", "model_unauthorized", False)


async def test_parallel_tool_calls_are_told_in_fragments_and_whole(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = await run(backend, monkeypatch, "demo-tools", tools=TOOLS)
    whole = said(ran.events, "tool_call")
    assert [(call["index"], call["name"]) for call in whole] == [(0, "look_up"), (1, "count")]
    assert set(whole[1]["arguments"]) == {"limit", "exact"}
    assert (ran.end["tool_calls"], ran.end["finish_reason"]) == (whole, "tool_calls")
    for call in whole:
        pieces = [one for one in said(ran.events, "tool_call_delta") if one["index"] == call["index"]]
        assert {one["id"] for one in pieces} == {call["id"]}
        assert orjson.loads("".join(one["arguments"] for one in pieces)) == call["arguments"]


async def test_tool_calls_without_an_index_are_told_apart(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await run(backend, monkeypatch, "demo-no-index", tools=TOOLS)
    assert [call["name"] for call in ran.end["tool_calls"]] == ["look_up", "count"]
    assert all(isinstance(call["arguments"], dict) for call in ran.end["tool_calls"])


async def test_broken_arguments_are_an_event_that_says_so(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await run(backend, monkeypatch, "demo-bad-arguments", tools=TOOLS)
    bad, good = said(ran.events, "tool_call")
    assert (ran.names[-1], bad["arguments"]) == ("done", None)
    assert bad["arguments_error"]
    assert bad["arguments_text"].endswith("unfinished: ")
    assert isinstance(good["arguments"], dict)


async def test_the_legacy_functions_give_a_function_call(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    functions = [tool["function"] for tool in TOOLS]
    ran = await run(backend, monkeypatch, "demo", functions=functions, function_call={"name": "count"})
    (call,) = said(ran.events, "function_call")
    assert (call["name"], set(call["arguments"])) == ("count", {"limit", "exact"})
    assert (ran.end["function_call"], ran.end["finish_reason"]) == (call, "function_call")
    assert ran.end["metrics"]["time_to_first_token"] is not None


async def test_reasoning_is_told_beside_the_text(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await run(backend, monkeypatch, "demo-reasoning")
    assert "".join(fields["content"] for fields in said(ran.events, "reasoning"))
    assert ran.text == ran.end["content"] == text_for(ran.body)


async def test_a_refusal_is_told_as_one(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await run(backend, monkeypatch, "demo-refusal")
    assert "".join(fields["content"] for fields in said(ran.events, "refusal")).startswith("I am sorry")
    assert (ran.text, ran.end["content"], ran.names[-1]) == ("", "", "done")


async def test_a_model_without_usage_has_its_pieces_counted(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await run(backend, monkeypatch, "demo-usage-none")
    assert ran.end["usage"] is None
    assert ran.end["metrics"]["chunk_count"] == 60
    assert ran.end["metrics"]["tokens_per_second"] > 0
    assert "completion_tokens" not in ran.end["metrics"]


async def test_log_probabilities_stay_with_their_tokens(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await run(backend, monkeypatch, "demo-logprobs", demo={"tokens": 40}, top_logprobs=2)
    pieces = said(ran.events, "content")
    assert len(pieces) == 40
    assert [piece["content"] for piece in pieces] == [piece["logprobs"]["content"][0]["token"] for piece in pieces]


async def test_every_choice_is_told_with_its_number(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = await run(backend, monkeypatch, "demo-choices", n=3)
    texts = [text_for(ran.body, choice) for choice in range(3)]
    assert [text_of(ran.events, choice) for choice in range(3)] == texts
    assert [one["content"] for one in ran.end["choices"]] == texts[1:]


@pytest.mark.parametrize(("store", "sent"), [(None, False), (False, False), (True, True)])
async def test_metadata_goes_to_the_model_only_if_it_is_to_store_the_answer(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, store: bool | None, sent: bool
) -> None:
    """OpenAI refuses it otherwise; all else passes through."""
    body: dict[str, Any] = {"metadata": {"a": "b"}, "temperature": 0, "nobody_knows": [None], "stream": False}
    ran = await run(backend, monkeypatch, "demo", **body, **({} if store is None else {"store": store}))
    got = ran.stats["requests"][0]["body"]
    assert ("metadata" in got) is sent
    assert (got["temperature"], got["nobody_knows"], got["stream"]) == (0, [None], True)
    assert got["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("setting", "given", "sent"),
    [
        (True, None, {"include_usage": True}),
        (True, {"include_usage": False}, {"include_usage": False}),
        (True, {"x": 1}, {"include_usage": True, "x": 1}),
        (False, None, None),
        (False, {"x": 1}, {"x": 1}),
    ],
)
async def test_usage_is_asked_for_unless_settings_or_client_say_otherwise(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, setting: bool, given: Any, sent: Any
) -> None:
    body = {} if given is None else {"stream_options": given}
    ran = await run(backend, monkeypatch, "demo-fast", include_usage=setting, **body)
    assert ran.stats["requests"][0]["body"].get("stream_options") == sent
