"""Chunks read by their form make the same events as chunks that are parsed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.core.events import NewEvent
from readalong.worker.model.answer import Answer
from readalong.worker.model.chunk_accumulator import ChunkAccumulator
from readalong.worker.model.chunk_template import ChunkTemplate

TEXTS = st.text(
    st.sampled_from(["a", " ", '"', "\\", "\n", "\t", "é", "\u2028", "🦉", "\x7f", "{", ":"])
    | st.characters(codec="utf-8")
)
ENCODERS: list[Callable[[Any], bytes]] = [
    orjson.dumps,
    lambda value: json.dumps(value).encode(),
    lambda value: json.dumps(value, ensure_ascii=False, separators=(" ,", " : ")).encode(),
]


def chunk(text: Any, **changes: Any) -> dict[str, Any]:
    """A chunk as OpenAI sends it."""
    delta = {"content": text, **changes.pop("delta", {})}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **changes.pop("choice", {})}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 7, "choices": [choice], "usage": None, **changes}


def parsed(pieces: list[bytes]) -> tuple[list[NewEvent], ChunkAccumulator]:
    """What the chunks say if each is parsed."""
    chunks = ChunkAccumulator()
    drafts = []
    for piece in pieces:
        chunks._mould = None
        drafts += chunks.add(piece)
    return drafts, chunks


def check(pieces: list[bytes]) -> None:
    chunks = ChunkAccumulator()
    drafts = [draft for piece in pieces for draft in chunks.add(piece)]
    expected, slow = parsed(pieces)
    assert drafts == expected
    answer = Answer(ChunkAccumulator())
    assert [draft for piece in pieces for draft in answer.feed(b"data: %b\n\n" % piece)] == expected
    assert (chunks.count, chunks.text(), chunks.usage) == (slow.count, slow.text(), slow.usage)
    assert (chunks.finish_reason, chunks.other_choices()) == (slow.finish_reason, slow.other_choices())
    assert (chunks.close(), chunks.take_extra()) == (slow.close(), slow.take_extra())


@given(st.lists(TEXTS, max_size=30), st.sampled_from(ENCODERS), st.integers(0, 2))
def test_any_texts_are_read_as_if_they_were_parsed(
    texts: list[str], encode: Callable[[Any], bytes], index: int
) -> None:
    check([encode(chunk(text, choice={"index": index})) for text in texts])


@given(
    st.lists(
        st.one_of(
            TEXTS.map(chunk),
            st.builds(chunk, TEXTS, created=st.integers(0, 3)),
            st.builds(chunk, TEXTS, usage=st.none() | st.fixed_dictionaries({"completion_tokens": st.integers(0, 9)})),
            st.builds(chunk, TEXTS, choice=st.fixed_dictionaries({"index": st.integers(0, 2)})),
            st.builds(chunk, TEXTS, choice=st.fixed_dictionaries({"finish_reason": st.sampled_from(["stop", None])})),
            st.builds(chunk, TEXTS, choice=st.fixed_dictionaries({"logprobs": st.just({"content": [{"token": "a"}]})})),
            st.builds(chunk, TEXTS, delta=st.fixed_dictionaries({"reasoning": TEXTS})),
            st.builds(chunk, TEXTS, obfuscation=TEXTS),
            st.builds(chunk, TEXTS, extra=TEXTS),
        ),
        max_size=30,
    ),
    st.sampled_from(ENCODERS),
)
def test_any_mixture_of_chunks_is_read_as_if_each_was_parsed(
    chunks: list[dict[str, Any]], encode: Callable[[Any], bytes]
) -> None:
    check([encode(each) for each in chunks])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # The text stands elsewhere too, once before the content and once as a key.
        (
            '{"id":"abc","choices":[{"delta":{"content":"abc"}}]}',
            '{"id":"xyz","choices":[{"delta":{"content":"abc"}}]}',
        ),
        (
            '{"choices":[{"delta":{"abc":1,"content":"\\u0061bc"}}]}',
            '{"choices":[{"delta":{"xyz":1,"content":"\\u0061bc"}}]}',
        ),
        # Of two equal names the last counts.
        (
            '{"choices":[{"delta":{"content":"abc","content":"abc"}}]}',
            '{"choices":[{"delta":{"content":"xyz","content":"abc"}}]}',
        ),
        ('{"choices":[{"message":{"content":"abc"}}]}', '{"choices":[{"message":{"content":"xyz"}}]}'),
        ('{"choices":[{"delta":{"content":["abc"]}}]}', '{"choices":[{"delta":{"content":["xyz"]}}]}'),
    ],
)
def test_the_mould_is_of_the_content_and_of_nothing_like_it(first: str, second: str) -> None:
    check([first.encode(), second.encode(), second.encode()])


def test_what_is_no_json_fits_no_mould() -> None:
    mould = ChunkTemplate.of(orjson.dumps(chunk("abc")), [NewEvent("content", {"content": "abc"})])
    assert mould is not None
    for inner in (b"a\nb", b"\xff", b"\\", b'a","x":"b', b"\\ud800", b"\\x"):
        assert mould.text(mould.before + inner + mould.after) is None
    assert mould.text(mould.before[:-1] + mould.after) is None
    assert mould.text(mould.before + b"\\u00e9\\n" + mould.after) == "é\n"


def test_a_server_whose_chunks_all_differ_is_not_measured_for_ever() -> None:
    chunks = ChunkAccumulator()
    for number in range(40):
        chunks.add(orjson.dumps(chunk("a", id=f"c{number}")))
    assert chunks._mould is not None
    kept = chunks._mould
    chunks.add(orjson.dumps(chunk("b", id="another")))
    assert chunks._mould is kept


def test_a_frame_of_the_usual_form_is_read_in_one_step_and_no_other() -> None:
    chunks = ChunkAccumulator()
    first, second, other = (b"data: %b\n\n" % orjson.dumps(chunk(text)) for text in ("a", "b", 'with a "'))
    assert chunks.add_frame(first) == []
    for _ in range(2):  # the first one carries the fields that no event type names
        chunks.add(first[6:-2])
    assert chunks.add_frame(second) == [NewEvent("content", {"content": "b"})]
    for odd in (other, second[:-1], second[:-2] + b"\r\n", second + second, second[6:]):
        assert chunks.add_frame(odd) == []
