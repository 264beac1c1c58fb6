"""The limits of one request and of all together."""

from __future__ import annotations

import asyncio
import io
import json
import stat
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest

from readalong.testing.chat_request import parse_chat_request
from readalong.testing.chunks import Envelope, Frame, answer_frames
from readalong.testing.completion_body import completion_body
from readalong.testing.errors import ApiError
from readalong.testing.journal import Journal
from readalong.testing.limits import ARGUMENT_BYTES, ARGUMENT_VALUES, KEPT_BODY_BYTES, MAX_BODY_BYTES
from readalong.testing.reply import build_reply
from readalong.testing.stats import State, Stats
from readalong.testing.tool_calls import tool_calls_for
from tests.support.connections import open_connection
from tests.support.waiting import WITHIN
from tests.testing.support import MESSAGES, ask, finish, running

MANY = 2**62


@contextmanager
def peak_below(limit: int) -> Iterator[None]:
    """Fails if more bytes than `limit` are in use at once."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit


def tool(name: str, **schema: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (ask(demo={"tokens": 200_001}), "demo.tokens"),
        (ask(n=128, demo={"tokens": 2000}), "demo.tokens"),
        (ask(demo={"tokens_per_second": 1e300}), "demo.tokens_per_second"),
        (ask(demo={"tokens_per_second": 1e-300}), "demo.tokens_per_second"),
        (ask(demo={"first_token_seconds": 1e300}), "demo.first_token_seconds"),
        (ask(demo={"retry_after": 1e300}), "demo.retry_after"),
        (ask(demo={"key": "k" * 101}), "demo.key"),
        (ask(demo={"key": [["k"]]}), "demo.key"),
        (ask(demo={"behaviour": ["fast"] * 65}), "demo.behaviour"),
        (ask("m" * 257), "model"),
        (ask(tools=[tool("t")] * 129), "tools"),
        (ask(tools=[tool("t" * 257)]), "tools[0].name"),
        ({"model": "demo", "messages": MESSAGES * 10_001}, "messages"),
        (ask("demo-logprobs", n=128, top_logprobs=20), "top_logprobs"),
        (ask("demo-numbered", demo={"tokens": 200_000, "key": "k" * 100}), "demo.tokens"),
    ],
)
async def test_what_would_cost_too_much_is_a_400_that_names_the_field(body: dict[str, Any], param: str) -> None:
    """The response does not repeat the long value."""
    async with running() as server:
        status, raw = await server.post(body)
    assert (status, orjson.loads(raw)["error"]["param"]) == (400, param)
    assert len(raw) < 1000


HEAVY = {
    "numbered": ask("demo-numbered", demo={"tokens": 200_000, "key": "k" * 100}),
    "choices": ask(n=128, demo={"tokens": 1562}),
    "no limit of its own": ask("demo-endless", max_tokens=MANY),
    "log probabilities": ask("demo-logprobs", top_logprobs=20, demo={"tokens": 4700}),
    "a long question": ask(messages=[{"role": "user", "content": "word " * 1_000_000}], n=128),
}


@pytest.mark.parametrize("name", HEAVY)
def test_an_answer_takes_a_bounded_number_of_bytes(name: str) -> None:
    """One body, or, where that is refused, the first chunks of the stream."""
    with peak_below(100_000_000):
        request = parse_chat_request(HEAVY[name])
        reply = build_reply(request)
        try:
            assert completion_body(request, reply, "id", 0)
        except ApiError:
            assert list(islice(answer_frames(request, reply, Envelope("id", 0, request)), 1000))


@pytest.mark.parametrize("tools", [1, 128])
@pytest.mark.parametrize("n", [1, 128])
def test_arguments_share_what_an_answer_may_cost(tools: int, n: int) -> None:
    """The budgets of bytes and values hold for the whole answer, also for schemas that repeat themselves."""
    schema = {
        "type": "object",
        "properties": {
            "large": {"type": "array", "minItems": MANY, "items": {"const": "x" * 10_000}},
            "deep": {"type": "array", "minItems": MANY, "items": {"$ref": "#"}},
            "wide": {"type": "object", "properties": {"y" * 20 + str(n): {"type": "null"} for n in range(5000)}},
            "far": {"$ref": "/x" * 1_000_000},
        },
    }
    body = ask("demo-tools", tools=[tool(f"t{k}", **schema) for k in range(tools)], tool_choice="required", n=n)
    request = parse_chat_request(body)
    calls = tool_calls_for(request, 1)
    assert len(calls) == tools
    written = n * sum(len(call.arguments) for call in calls)
    # Not counted: brackets, commas and nulls, and four bytes of a call without budget.
    assert written <= ARGUMENT_BYTES + 24 * ARGUMENT_VALUES + 4 * n * tools


async def test_an_endless_stream_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readalong.testing.reply.ENDLESS_TOKENS", 1000)
    async with running() as server:
        events = await server.events(ask("demo-endless", n=2))
        assert finish(events, 0) == finish(events, 1) == "length"
        assert (await server.stats())["tokens"] == 1000


@pytest.mark.parametrize(("size", "status"), [(MAX_BODY_BYTES, 400), (MAX_BODY_BYTES + 1, 413)])
async def test_a_body_that_is_too_large_is_a_413(size: int, status: int) -> None:
    async with running() as server:
        url = f"{server.url}/chat/completions"
        async with server.http.post(url, data=io.BytesIO(b" " * size)) as response:
            assert response.status == status


async def test_bodies_that_are_being_read_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unfinished body takes its share; another request gets a 503 with Retry-After."""
    monkeypatch.setattr("readalong.testing.demo_model.READING_BYTES", 100_000)
    async with running() as server, asyncio.timeout(WITHIN):
        _, writer = await open_connection(server.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b" " * 90_000)
        body = ask(user="x" * 20_000)
        while (await server.post(body))[0] == 200:  # noqa: ASYNC110 (until the server has read it)
            await asyncio.sleep(0)
        status, raw = await server.post(body)
        assert (status, orjson.loads(raw)["error"]["code"]) == (503, "busy")
        writer.close()
        while (await server.post(body))[0] == 503:  # noqa: ASYNC110 (until the server has seen it)
            await asyncio.sleep(0)
        assert (await server.post(body))[0] == 200


async def test_answers_that_are_being_given_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stalled stream holds its weight until its client closes the connection."""
    monkeypatch.setattr("readalong.testing.demo_model.OPEN_BYTES", 100_000)
    long = {"tokens": 8000}
    async with running() as server:
        async with server.raw(ask("demo-stall", demo=long)) as reader:
            await reader.readuntil(b"\r\n\r\n")
            assert (await server.post(ask(demo=long)))[0] == 503
            assert (await server.post(ask(demo={"tokens": 10})))[0] == 200
        await server.stats_when(lambda shown: shown["gone"] == 1)
        assert (await server.post(ask(demo=long)))[0] == 200


def test_what_stats_keep_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies are kept as bytes. The texts of open and of ended streams have limits."""
    stats = Stats()
    raw = b"[" + b"[]," * (KEPT_BODY_BYTES // 3 - 2) + b"[]]"
    with peak_below(150 * KEPT_BODY_BYTES):
        for number in range(300):
            stats.request(str(number), "/", [], bytes(bytearray(raw)), orjson.loads(raw) if not number else [])
    monkeypatch.setattr("readalong.testing.stats.KEPT_OPEN_TOKENS", 100)
    monkeypatch.setattr("readalong.testing.stats.KEPT_CHARACTERS", 90)
    streams = [stats.open(str(number), "demo") for number in range(4)]
    for _ in range(60):
        for stream in streams[:2]:
            stream.sent(Frame(b"", "x", 1))
    assert [len(stream.texts) for stream in streams] == [50, 50, 0, 0]
    for stream in streams:
        stream.end(State.FINISHED)
    shown = stats.snapshot()["streams"]
    assert {name: len(stream["text"]) for name, stream in shown.items()} == {"1": 50, "2": 0, "3": 0}
    assert stats.open_texts == 0


def test_a_journal_has_an_end_and_is_its_users_alone(tmp_path: Path) -> None:
    """The last line has the kind `full`. Lines that were in the file before count."""
    path = tmp_path / "journal"
    for _ in range(2):
        with Journal(path, max_bytes=2000) as journal:
            for _ in range(100):
                journal.request("call", "tag", "model", 200)
    assert path.stat().st_size <= 2000 + 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kinds = [json.loads(line)["kind"] for line in path.read_bytes().splitlines()]
    assert kinds[-1] == "full"
    assert set(kinds[:-2]) == {"request"}
