"""For any answer of a model, cut anywhere: the events match it, and there is one end."""

from __future__ import annotations

from typing import Any, Final

import orjson
from hypothesis import given
from hypothesis import strategies as st

from readalong.core.events import TYPES, merge
from readalong.core.transcript import Transcript
from readalong.worker.model.limits import Limits
from tests.fuzz.answers import STREAM, bodies, cut, cuts, numbered, read_answer
from tests.fuzz.effort import fuzzed
from tests.worker.model.odd_answers import DONE, call, chunk, data, part, say

KINDS: Final = st.sampled_from([STREAM, "application/json", "text/plain; charset=utf-8", ""])
#: Codes of a failed job that an answer may cause.
CODES: Final = {"model_malformed", "model_error", "model_cut", "model_bad_request", "model_answer_too_large"}


@fuzzed(400)
@given(bodies(), cuts, KINDS, st.sampled_from([1, 3]))
def test_any_bytes_cut_anywhere_tell_the_same_and_end_once(
    body: bytes, places: list[int], kind: str, asked: int
) -> None:
    whole = read_answer(cut(body, []), kind, asked)
    assert read_answer(cut(body, places), kind, asked) == whole
    assert read_answer(cut(body, range(len(body))), kind, asked) == whole
    assert not whole.failure or whole.failure.split()[0] in CODES
    assert len(whole.failure) < 2 * len(body) + 500
    events = numbered(whole)
    assert {event.type for event in events} <= TYPES
    assert [event for merged in merge(events) for event in merged.expand()] == events
    said = Transcript()
    said.add_all(events)
    assert said.text() == whole.text
    assert orjson.dumps(whole.carried)


#: Bytes without a meaning that may come between two pieces.
SILENT: Final = [
    *(b": still here\n\n", b"\n", b"event: ping\ndata: {}\n\n", b"data:\n\n", b"retry: 5\n\n", b"id: 7\n\n"),
    *(data({"choices": []}), data(chunk()), data(say("")), data({"choices": [{"index": 0, "delta": None}]})),
    *(data({"choices": [], "usage": {"total_tokens": 2}}), data(chunk({"role": "assistant", "content": None}))),
]
texts: Final = st.text(st.sampled_from('a \n"\\{}é🦉\u2028\r\0') | st.characters(codec="utf-8"), min_size=1, max_size=8)
said: Final = st.tuples(st.integers(0, 2), texts, st.sampled_from(["content", "reasoning", "refusal"]))


@fuzzed(400)
@given(
    st.lists(said | st.sampled_from(SILENT), min_size=1, max_size=12),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.sampled_from([b"data: ", b"data:"]),
    cuts,
)
def test_the_events_say_each_piece_once_and_in_order(
    stream: list[Any], line_end: bytes, field: bytes, places: list[int]
) -> None:
    """By kind and choice, with anything between the pieces and any cuts of the stream."""
    pieces = [one for one in stream if isinstance(one, tuple)]
    choices = sorted({index for index, *_ in pieces} | {0})
    ends = b"".join(data(chunk(finish="stop", index=index)) for index in choices)
    sent = (one if isinstance(one, bytes) else data(chunk({one[2]: one[1]}, index=one[0])) for one in stream)
    body = (b"".join(sent) + ends + DONE).replace(b"data: ", field).replace(b"\n", line_end)
    result = read_answer(cut(body, places), asked=3)
    assert result.failure == ""
    wanted = {(kind, index): "" for index, _, kind in pieces}
    for index, text, kind in pieces:
        wanted[kind, index] += text
    got: dict[tuple[str, int], str] = {}
    for event in numbered(result):
        fields = event.fields()
        place = event.type, fields.get("choice", 0)
        got[place] = got.get(place, "") + fields["content"]
    assert got == wanted


TIGHT: Final = Limits(answer=3000, response=9000, extra=300, calls=3, call_bytes=900)
letters: Final = st.integers(0, 300).map("x".__mul__)
#: Kinds of which an answer may have too many.
LOUD: Final[list[st.SearchStrategy[Any]]] = [
    letters.map(say),
    st.builds(
        lambda index, text: call(part(index, f"c{index}", "f", text)), st.integers(0, 2), letters | st.just('{"a":1}')
    ),
    st.integers(0, 9).map(lambda index: call(part(index, f"c{index}", "f", "{}"))),
    st.builds(lambda name, text: {**chunk(), name: text}, st.text("ab", min_size=2, max_size=4), letters),
    letters.map(lambda text: b": " + text.encode() + b"\n\n"),
]


@st.composite
def loud(draw: st.DrawFn) -> list[Any]:
    """Draws an answer, mostly of one kind."""
    kinds = draw(st.lists(st.sampled_from(LOUD), min_size=1, max_size=2))
    count = draw(st.integers(0, 60))
    return draw(st.lists(st.one_of(*kinds), min_size=count, max_size=count))


@fuzzed(200)
@given(loud(), cuts)
def test_of_an_answer_beyond_its_limits_no_more_is_kept_than_they_allow(stream: list[Any], places: list[int]) -> None:
    """The earlier events are kept."""
    body = b"".join(one if isinstance(one, bytes) else data(one) for one in stream)
    result = read_answer(cut(body, places), limits=TIGHT)
    code = result.failure.partition(" ")[0]
    assert code in {"model_cut", "model_malformed", "model_answer_too_large"}
    assert code == "model_answer_too_large" or len(body) <= TIGHT.response
    texts = (one["choices"][0]["delta"].get("content", "") for one in stream if not isinstance(one, bytes))
    assert "".join(texts).startswith(result.text)
    fragments = [event.fields() for event in numbered(result) if event.type == "tool_call_delta"]
    assert len({fields["index"] for fields in fragments}) <= TIGHT.calls
    assert sum(len(fields["arguments"]) for fields in fragments) <= TIGHT.call_bytes
    extras = [fields["extra"] for event in numbered(result) if "extra" in (fields := event.fields())]
    assert sum(len(text) for extra in (*extras, result.carried["extra"]) for text in extra.values()) <= TIGHT.extra
