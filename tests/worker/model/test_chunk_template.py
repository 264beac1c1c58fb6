"""Chunks that match a template make the same events as parsed chunks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.core.events import NewEvent
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.chunks.template import ChunkTemplate
from readalong.worker.model.openai.answer_parser import AnswerParser

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
    """Returns a chunk as OpenAI sends it."""
    delta = {"content": text, **changes.pop("delta", {})}
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, **changes.pop("choice", {})}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 7, "choices": [choice], "usage": None, **changes}


def parsed(pieces: list[bytes]) -> tuple[list[NewEvent], ChunkAccumulator]:
    """Returns the events of the chunks if each is parsed."""
    chunks = ChunkAccumulator()
    events = []
    for piece in pieces:
        chunks._template = None
        events += chunks.add(piece)
    return events, chunks


def check(pieces: list[bytes]) -> None:
    chunks = ChunkAccumulator()
    events = [event for piece in pieces for event in chunks.add(piece)]
    expected, slow = parsed(pieces)
    assert events == expected
    answer = AnswerParser(ChunkAccumulator())
    assert [event for piece in pieces for event in answer.feed(b"data: %b\n\n" % piece)] == expected
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
        # The chunk holds the text elsewhere too, once before the content and once as a key.
        (
            '{"id":"abc","choices":[{"delta":{"content":"abc"}}]}',
            '{"id":"xyz","choices":[{"delta":{"content":"abc"}}]}',
        ),
        (
            '{"choices":[{"delta":{"abc":1,"content":"\\u0061bc"}}]}',
            '{"choices":[{"delta":{"xyz":1,"content":"\\u0061bc"}}]}',
        ),
        # The last of two equal names counts.
        (
            '{"choices":[{"delta":{"content":"abc","content":"abc"}}]}',
            '{"choices":[{"delta":{"content":"xyz","content":"abc"}}]}',
        ),
        ('{"choices":[{"message":{"content":"abc"}}]}', '{"choices":[{"message":{"content":"xyz"}}]}'),
        ('{"choices":[{"delta":{"content":["abc"]}}]}', '{"choices":[{"delta":{"content":["xyz"]}}]}'),
    ],
)
def test_the_template_is_of_the_content_and_of_nothing_like_it(first: str, second: str) -> None:
    check([first.encode(), second.encode(), second.encode()])


def test_invalid_json_fits_no_template() -> None:
    template = ChunkTemplate.of(orjson.dumps(chunk("abc")), [NewEvent("content", {"content": "abc"})])
    assert template is not None
    for inner in (b"a\nb", b"\xff", b"\\", b'a","x":"b', b"\\ud800", b"\\x"):
        assert template.text(template.before + inner + template.after) is None
    assert template.text(template.before[:-1] + template.after) is None
    assert template.text(template.before + b"\\u00e9\\n" + template.after) == "é\n"


def test_a_server_whose_chunks_all_differ_is_not_measured_for_ever() -> None:
    chunks = ChunkAccumulator()
    for number in range(40):
        chunks.add(orjson.dumps(chunk("a", id=f"c{number}")))
    assert chunks._template is not None
    kept = chunks._template
    chunks.add(orjson.dumps(chunk("b", id="another")))
    assert chunks._template is kept


def test_a_frame_of_the_usual_form_is_read_in_one_step_and_no_other() -> None:
    chunks = ChunkAccumulator()
    first, second, other = (b"data: %b\n\n" % orjson.dumps(chunk(text)) for text in ("a", "b", 'with a "'))
    assert chunks.add_frame(first) == []
    for _ in range(2):  # the first chunk carries the extra fields
        chunks.add(first[6:-2])
    assert chunks.add_frame(second) == [NewEvent("content", {"content": "b"})]
    for odd in (other, second[:-1], second[:-2] + b"\r\n", second + second, second[6:]):
        assert chunks.add_frame(odd) == []
