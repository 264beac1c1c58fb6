"""Bodies that are made to be expensive are refused by name, or do not delay other clients."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis
from pydantic import ValidationError
from pydantic_core import from_json

from readalong.api.http import request_body as bodies
from readalong.api.submission import submitter
from readalong.api.submission.chat_request import (
    MAX_ITEMS,
    MAX_KEY_LENGTH,
    MAX_MESSAGES,
    MAX_PAIRS,
    MAX_VALUE_LENGTH,
    ChatRequest,
    check,
)
from readalong.core.errors import InvalidRequest
from readalong.core.settings import Settings
from tests.api.routes.test_submit import problem
from tests.api.serving import a_site, on_valkey

MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]


def test_many_wrong_messages_give_one_error() -> None:
    """Pydantic would otherwise keep an error for each message, with a copy of its location."""
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate({"messages": [1] * (MAX_MESSAGES - 1)})
    assert caught.value.error_count() == 1


#: Fields at their limit, an item beyond the limit, and the path that the error names.
LISTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "messages": ({"messages": MESSAGES * MAX_MESSAGES}, {"messages": MESSAGES * (MAX_MESSAGES + 1)}, "messages"),
    "parts": (
        {"messages": [{"content": [0] * MAX_MESSAGES}]},
        {"messages": [{}, {"content": [0] * (MAX_MESSAGES + 1)}]},
        "messages.1.content",
    ),
    "calls": (
        {"messages": [{"tool_calls": [0] * MAX_ITEMS}]},
        {"messages": [{"tool_calls": [0] * (MAX_ITEMS + 1)}]},
        "messages.0.tool_calls",
    ),
    **{name: ({name: [0] * MAX_ITEMS}, {name: [0] * (MAX_ITEMS + 1)}, name) for name in ("tools", "functions", "stop")},
    "pairs": (
        {"metadata": {str(number): number for number in range(MAX_PAIRS)}},
        {"metadata": {str(number): number for number in range(MAX_PAIRS + 1)}},
        "metadata",
    ),
    "keys": ({"metadata": {"ü" * MAX_KEY_LENGTH: 1}}, {"metadata": {"ü" * (MAX_KEY_LENGTH + 1): 1}}, "metadata"),
    "values": (
        {"metadata": {"a": "ü" * MAX_VALUE_LENGTH}},
        {"metadata": {"a": "ü" * (MAX_VALUE_LENGTH + 1)}},
        "metadata.a",
    ),
    "lists in it": ({"metadata": {"a": [1] * 255}}, {"metadata": {"a": [1] * 256}}, "metadata.a"),
}


@pytest.mark.parametrize(("good", "bad", "path"), LISTS.values(), ids=LISTS)
def test_each_collection_of_a_request_has_a_limit(good: dict[str, Any], bad: dict[str, Any], path: str) -> None:
    check({"messages": MESSAGES, **good})
    with pytest.raises(InvalidRequest) as caught:
        check({"messages": MESSAGES, **bad})
    assert caught.value.field == path
    assert len(caught.value.message) < 200


@on_valkey
async def test_a_body_of_too_many_values_or_too_deep_is_not_read_into_memory(
    settings: Settings, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte of empty objects takes seventy megabytes once parsed: it is refused before that."""
    head = b'{"messages":[{"role":"user","content":"x"}],"more":'
    many = head + b"[" + b"{}," * 250_000 + b"{}]}"
    made: list[bytes] = []

    def counted(raw: bytes) -> Any:
        made.append(raw)
        return from_json(raw)

    async with a_site(settings) as site:
        with monkeypatch.context() as patch:
            patch.setattr(bodies, "from_json", counted)
            problem(await site.http.post("/v1/jobs", content=many), 422, "invalid_request", "body")
            assert made == []
        for depth, status in ((126, 202), (128, 400)):
            raw = head + b'{"a":[' * (depth // 2) + b"]}" * (depth // 2) + b"}"
            answer = await site.http.post("/v1/jobs", content=raw)
            assert answer.status_code == status, depth
        problem(answer, 400, "invalid_json", None)


@on_valkey
@pytest.mark.parametrize("work", ["_parse", "_check_body"])
async def test_a_large_body_is_parsed_and_checked_while_the_others_have_their_turns(
    settings: Settings, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """The test's own turn of the loop comes before the end of the work only if the work is not on the loop."""
    module: Any = bodies if work == "_parse" else submitter
    really = getattr(module, work)
    loop = asyncio.get_running_loop()
    turns: list[bool] = []

    def slow(given: Any) -> Any:
        turn = threading.Event()
        loop.call_soon_threadsafe(turn.set)
        turns.append(turn.wait(timeout=0 if threading.current_thread() is threading.main_thread() else 60))
        return really(given)

    monkeypatch.setattr(module, work, slow)
    raw = orjson.dumps({"messages": [{"role": "user", "content": "x" * 1_000_000}]})
    async with a_site(settings) as site:
        assert (await site.http.post("/v1/jobs", content=raw)).status_code == 202
    assert turns == [True]
