"""Possible answers of a model's server, and a worker's reading of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from readalong.core.errors import ModelError
from readalong.core.events import Event, NewEvent, merge_drafts
from readalong.store.log import encode
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.limits import Limits
from readalong.worker.model.openai.answer_parser import AnswerParser
from readalong.worker.model.openai.body_reader import sse_pieces
from tests.worker.model.odd_answers import DONE, STOP, data, say
from tests.worker.model.oddities import ODDITIES
from tests.worker.model.test_malformed_chunks import any_chunk, as_json

STREAM: Final = "text/event-stream"
_USUAL: Final = Limits()
#: The bodies of all known oddities that are short.
_KNOWN: Final = [
    body
    for oddities in ODDITIES.values()
    for oddity in oddities
    if len(body := b"".join(oddity.pieces).partition(b"\r\n\r\n")[2]) < 2000
]
#: Their events, one by one.
_FRAMES: Final = sorted({part + b"\n\n" for body in _KNOWN if b"data" in body for part in body.split(b"\n\n") if part})
#: Bytes that separate and frame events, that start another form, and that are no text.
_MARKS: Final = [
    *(b"data:", b"data: ", b"event: error\n", b"event:", b"id: \0", b"retry: 1", b"error:", b": ", b"\n\n", b"\r\n"),
    *(b"\n", b"\r", b"\xef\xbb\xbf", b"[DONE]", b"<", b"[", b"{", b"}", b'"', b"\\", b"\xff", b"\0", b"\xe2\x80\xa8"),
]
_said: Final = st.text(max_size=5).map(say)
_chunks: Final = st.one_of(_said.map(as_json), _said.map(as_json), any_chunk.map(as_json))
_frames: Final = st.sampled_from(_FRAMES) | _chunks.map(lambda chunk: b"data: " + chunk + b"\n\n")
_streams: Final = st.lists(_frames, max_size=8).map(b"".join)
_documents: Final = st.sampled_from(_KNOWN) | st.lists(_chunks, max_size=4).map(b"\n".join)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Draws a body close to a valid one: half of them have missing, doubled or changed bytes."""
    body = draw(st.one_of(_streams, _streams, _streams, _documents)) + draw(st.sampled_from([b"", DONE, data(STOP)]))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.sampled_from([0, 0, 1, 2, 40])))
        put = draw(st.sampled_from(_MARKS) | st.binary(max_size=2) | st.just(2 * body[start:end]))
        body = body[:start] + put + body[end:]
    return body.replace(b"\n", draw(st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])))


#: Places at which a body is cut, each modulo its length.
cuts: Final = st.lists(st.integers(0, 10_000), max_size=8)


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    """Returns the body in pieces, none of them empty."""
    ends = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in pairwise(ends) if start < end]


class ReadAnswer(NamedTuple):
    """The result of an answer: the events, the failure, and the fields of the end."""

    events: list[tuple[str, bytes]]
    failure: str
    carried: dict[str, Any]
    #: The content according to the accumulator itself, which the events must match.
    text: str


async def read_answer_async(pieces: Sequence[bytes], kind: str, asked: int, limits: Limits) -> ReadAnswer:
    """Returns a worker's reading of a body in these pieces, for a request of `asked` choices.

    Raises any error that a worker does not expect.
    """

    coming = iter(pieces)

    async def read() -> bytes:
        return next(coming, b"")

    chunks = ChunkAccumulator(asked, limits=limits)
    answer = AnswerParser(chunks, limits=limits)
    drafts: list[NewEvent] = []
    failure: ModelError | None = None
    try:
        async for piece in sse_pieces(read, 200, kind):
            drafts += answer.feed(piece)
            if answer.done or answer.failure is not None:
                break
        else:
            drafts += answer.close()
        failure = answer.failure
        assert answer.done is (failure is None)
    except ModelError as error:
        failure = error
    drafts += chunks.close()
    carried = {
        "usage": chunks.usage,
        "extra": chunks.take_extra(),
        "finish_reason": chunks.finish_reason,
        "choices": chunks.other_choices(),
        "tool_calls": chunks.tool_calls,
        "function_call": chunks.function_call,
    }
    failed = "" if failure is None else f"{failure.code} {failure.retryable} {failure.message}"
    return ReadAnswer(encode(merge_drafts(drafts)), failed, carried, chunks.text())


def read_answer(pieces: Sequence[bytes], kind: str = STREAM, asked: int = 1, limits: Limits = _USUAL) -> ReadAnswer:
    """Like `read_answer_async`, in its own loop."""
    return asyncio.run(read_answer_async(pieces, kind, asked, limits))


def numbered(answer: ReadAnswer) -> list[Event]:
    """Returns the events with the log's numbers."""
    return [Event(seq, *event) for seq, event in enumerate(answer.events, 1)]
