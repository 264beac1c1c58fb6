"""Each part of an answer has a limit. The events before the limit stay."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import orjson
import pytest

from readalong.core.errors import ModelError
from readalong.core.events import NewEvent
from readalong.worker.model import limits
from readalong.worker.model.chunks import lenient_json as values
from readalong.worker.model.chunks import tool_arguments as arguments
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.limits import MAX_LINES, MAX_VALUES, AnswerTooLarge, Limits
from readalong.worker.model.openai.answer_parser import AnswerParser
from readalong.worker.model.openai.body_reader import sse_pieces
from readalong.worker.model.openai.transport import body_of
from tests.worker.helpers import Backend, settings_for, text_of, working
from tests.worker.model.chunk_helpers import add, call, calls, chunk
from tests.worker.model.odd_answers import HOLD, data, head
from tests.worker.model.test_oddities import serving
from tests.worker.raw import raw_server, reply, response_of

MIB = 1_048_576
LIMITS = Limits(answer=MIB, response=2 * MIB, extra=65_536, calls=8, call_bytes=65_536)
PIECE = 65_536


def endless(line: bytes) -> Iterator[bytes]:
    """Yields a line again and again, in pieces as a reader gets them."""
    piece = line * (PIECE // len(line) + 1)
    while True:
        yield piece


def read(answer: AnswerParser, pieces: Iterator[bytes], most: int = 64 * MIB) -> tuple[list[NewEvent], int]:
    """Returns the events of an answer until it ends, and the bytes read."""
    events: list[NewEvent] = []
    size = 0
    for piece in pieces:
        if answer.failure is not None or answer.done or size > most:
            break
        events += answer.feed(piece)
        size += len(piece)
    return events, size


@pytest.mark.parametrize(
    ("line", "most"),
    [
        (b"data: " + b"x" * 1000 + b"\n", MIB + 8192),
        (b"data: ab\n", 9 * MAX_LINES),
        (b"data:\n", 6 * MAX_LINES),
        (b"x" * 1000, MIB),
        (b": it thinks\n\n", 2 * MIB),
        (b"event: " + b"x" * 2000 + b"\n", 2 * MIB),
        pytest.param(b"data: {}\n\n", 2 * MIB, marks=pytest.mark.slow),
    ],
    ids=["data lines", "short lines", "bare lines", "a line", "comments", "names", "empty chunks"],
)
def test_a_message_and_a_body_without_an_end_take_a_bounded_memory(line: bytes, most: int) -> None:
    answer = AnswerParser(ChunkAccumulator(limits=LIMITS), limits=LIMITS)
    tracemalloc.start()
    try:
        events, size = read(answer, endless(line))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(answer.failure, AnswerTooLarge)
    assert events == []
    assert size <= most + 2 * PIECE
    assert peak < 8 * MIB


def test_after_its_last_word_nothing_that_follows_spoils_an_answer() -> None:
    answer = AnswerParser(ChunkAccumulator(limits=LIMITS), limits=LIMITS)
    answer.feed(data(chunk({"content": "a"}, finish="stop")))
    read(answer, endless(b"data: x\n"))
    assert (answer.done, answer.failure) == (True, None)


FIELDS: dict[str, Callable[[int], Any]] = {
    "choices": lambda turn: chunk({"content": "a"}, index=turn),
    "empty choices": lambda turn: {"choices": [{"index": at} for at in range(turn, turn + 100)]},
    "calls": lambda turn: calls(*[call(turn + at, f"c{turn + at}", "f", "{}") for at in range(20)]),
    "arguments": lambda _: calls(call(0, "c", "f", "x" * 500)),
    "a call's name in each of its pieces": lambda _: calls(*[call(0, "c", "f" * 500, "")] * 50),
    "pieces of nothing": lambda _: calls(*[call(0, "c", "f", "")] * 50),
    "fields of a call": lambda turn: calls({**call(0, "c", "f"), f"x{turn}": "y" * 500}),
    "a function call": lambda _: chunk({"function_call": {"name": "f", "arguments": "x" * 500}}),
    "fields": lambda turn: {**chunk({}), f"x{turn}": "y" * 500},
    "short fields": lambda turn: {**chunk({}), f"{turn}": 1},
    "values of a field": lambda turn: {**chunk({}), "x": f"{turn}" + "y" * 500},
    "pieces of sound": lambda _: chunk({"audio": {"data": "A" * 500}}),
    "pictures": lambda turn: chunk({"images": [{"url": f"{turn}" + "A" * 500}]}),
}


@pytest.mark.parametrize("kind", FIELDS)
def test_what_an_answer_holds_besides_its_text_has_limits_in_bytes_and_number(kind: str) -> None:
    """No event follows the one that reaches the limit."""
    chunks = ChunkAccumulator(2, limits=LIMITS)
    add(chunks, chunk({"content": "a"}))
    events: list[NewEvent] = []
    tracemalloc.start()
    turn = 0
    try:
        with pytest.raises(AnswerTooLarge) as caught:  # noqa: PT012 (the claim is that one of them raises)
            for turn in range(1, 3000):
                events += add(chunks, FIELDS[kind](turn))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (caught.value.code, caught.value.retryable) == ("model_answer_too_large", False)
    assert turn < 1100
    assert sum(len(event.encode()) for event in events + caught.value.events + chunks.close()) < 4 * LIMITS.call_bytes
    assert peak < 3 * MIB


@pytest.mark.parametrize("asked", [1, 3])
def test_as_many_choices_come_as_were_asked_for(asked: int) -> None:
    chunks = ChunkAccumulator(asked)
    for index in range(asked):
        add(chunks, chunk({"content": f"{index}"}, index=index), {"choices": [{"index": index}, {"index": index}]})
    with pytest.raises(AnswerTooLarge) as caught:
        add(chunks, {"choices": [{"index": 0, "delta": {"content": "!"}}, {"index": asked}]})
    assert f"the {asked} choices that it was asked for" in caught.value.message
    assert [event.fields["content"] for event in caught.value.events] == ["!"]
    assert chunks.text() == "0!"


@pytest.mark.parametrize("most", [50_000, pytest.param(MAX_VALUES, marks=pytest.mark.slow)])
def test_a_message_of_more_values_than_fit_a_memory_is_not_read(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """In Python each takes up to a hundred times its bytes in JSON."""
    for module in (limits, values):
        monkeypatch.setattr(module, "MAX_VALUES", most)
    many = b"[]," * (most // 2) + b"[]"
    tracemalloc.start()
    try:
        with pytest.raises(AnswerTooLarge):
            ChunkAccumulator().add(b'{"x":[%b]}' % many)
        chunks = ChunkAccumulator()
        half = many[: len(many) // 2].decode()
        add(chunks, *(calls(call(0, "c", "f", text)) for text in ("[", half, many[len(half) :].decode(), ",[]]")))
        [told] = chunks.close()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (told.fields["arguments"], "values" in told.fields["arguments_error"]) == (None, True)
    assert peak < 24 * most


@pytest.mark.parametrize(
    ("first", "more", "last"),
    [('{"a":"', "}", '"}'), ('{"a":"', "\\\\}", '"}'), ("[", "[]]", "]"), ('{"a":[', "{},", "{}]}")],
)
def test_to_put_a_call_together_takes_as_long_as_its_bytes(
    monkeypatch: pytest.MonkeyPatch, first: str, more: str, last: str
) -> None:
    """A fragment that might be the end does not cause a second reading of all fragments."""
    joined = [0]
    text = arguments.ToolArguments.text

    def counted(self: arguments.ToolArguments) -> str:
        joined[0] += 1
        return text(self)

    monkeypatch.setattr(arguments.ToolArguments, "text", counted)
    chunks = ChunkAccumulator()
    for turn in range(2000):
        add(chunks, calls(call(0, "c", "f", more if turn else first)))
    add(chunks, calls(call(0, "c", "f", last)))
    assert joined[0] <= 2
    chunks.close()
    said = first + more * 1999 + last
    found = chunks.tool_calls[0]
    assert said in (found.get("arguments_text"), said if found["arguments"] == orjson_or_none(said) else None)


def orjson_or_none(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def test_a_whole_message_beside_each_delta_is_compared_with_what_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is shorter than the text so far is not compared."""
    chunks = ChunkAccumulator()
    add(chunks, *[chunk({"content": "abc"})] * 500)
    compared: list[int] = []
    pieces = type(chunks._choices[0].text)

    def counted(self: list[str]) -> Iterator[str]:
        compared.append(len(self))
        return list.__iter__(self)

    monkeypatch.setattr(pieces, "__iter__", counted, raising=False)
    for _ in range(500):
        add(chunks, {"choices": [{"index": 0, "delta": {"content": "d"}, "message": {"content": "x"}}]})
    assert sum(compared) == 0
    assert chunks.text() == "abc" * 500 + "d" * 500


@pytest.mark.parametrize("codings", [1, 2])
async def test_a_body_that_grows_when_it_is_unpacked_is_read_in_pieces_between_which_others_have_turns(
    codings: int,
) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    packed = b"".join(packer.compress(b": thinks" * 131_072) for _ in range(32)) + packer.flush()
    for _ in range(codings - 1):
        packed = gzip.compress(packed)
    turns = [0]

    async def others() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    answer = reply(packed, "text/event-stream", Content_Encoding=", ".join(["gzip"] * codings))
    async with raw_server(answer) as server, response_of(server.url) as response:
        if codings > 1:
            with pytest.raises(ModelError, match="bytes") as caught:
                _ = [piece async for piece in sse_pieces(body_of(response), 200, "")]
            assert not caught.value.retryable
        else:
            sizes, seen = [], []
            async for piece in sse_pieces(body_of(response), 200, ""):
                sizes.append(len(piece))
                seen.append(turns[0])
            assert (sum(sizes), max(sizes)) == (32 * MIB, PIECE)
            assert len(set(seen)) >= 32
    other.cancel()
    await asyncio.wait([other])


@pytest.mark.parametrize("longest", [MIB])
async def test_a_json_answer_without_an_end_is_let_go(longest: int) -> None:
    """The answer is a document, lines, or compressed."""
    for body in (b"[" * (2 * MIB), b'{"a":' + b" " * (2 * MIB), b'{"a":1}\n' + b"[" * (2 * MIB)):
        for packed in (False, True):
            headers = {"Content_Encoding": "gzip"} if packed else {}
            answer = reply(gzip.compress(body) if packed else body, **headers)
            async with raw_server(answer) as server, response_of(server.url) as response:
                with pytest.raises(AnswerTooLarge):
                    async for _ in sse_pieces(body_of(response), 200, "", str, longest):
                        pass


async def test_a_job_whose_model_never_ends_fails_with_what_it_said_and_is_not_tried_again(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log and the terminal event hold the same text, and the connection is closed."""
    word = data(chunk({"content": "hoot " * 200}))
    kinds: dict[str, bytes] = {
        "text": word,
        "one letter": data(chunk({"content": "a"})) * 50,
        "reasoning": data(chunk({"reasoning": "hm " * 200})),
        "two voices": data(chunk({"content": "a"})) + data(chunk({"refusal": "b"})),
        "fields": data(chunk({"audio": {"data": "A" * 500}})),
        "calls": data(calls(call(None, None, "f", '{"a":1}'), call(None, None, "g", "{}"))),
        "choices": data(chunk({}, index=0)) + data({"choices": [{"index": 0}, {"index": 1}]}),
        "lines": b"data: x\n",
        "comments": b": thinks\n",
    }
    left: set[str] = set()

    async def answer(name: str) -> AsyncIterator[bytes]:
        yield head() + data(chunk({"content": "Owls"}))
        try:
            for _ in range(20_000):
                yield kinds[name] * 200
            yield HOLD
        finally:
            left.add(name)

    limits = {"max_answer_bytes": 65_536, "max_response_bytes": 4 * MIB, "max_extra_bytes": 20_000}
    settings = settings_for(str(backend.settings.redis_url), **limits, max_tool_calls=8)
    async with serving(monkeypatch, answer) as asked, working(settings):
        jobs = {name: await backend.submit(name) for name in kinds}
        for name, job_id in jobs.items():
            events = await backend.ended(job_id)
            end = events[-1].fields()
            assert (name, end["error"]["code"], end["error"]["retryable"]) == (name, "model_answer_too_large", False)
            assert end["content"] == text_of(events)
            assert end["content"].startswith("Owls")
            written = sum(len(event.data) for event in events)
            assert written < 4 * 65_536 + 2 * len(end["content"]), name
    assert asked == dict.fromkeys(kinds, 1)
    assert left == set(kinds)
