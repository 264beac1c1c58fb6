"""Events as bytes, and the merging of neighbouring text."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.core.events import PAGE_SIZE, TEXT, TYPES, Event, NewEvent, merge, merge_drafts, parse_live
from readalong.core.states import TERMINAL

texts = st.text(max_size=12)
text_drafts = st.builds(
    lambda kind, text, rest: NewEvent(kind, {"content": text, **rest}),
    st.sampled_from(sorted(TEXT)),
    texts,
    # The other fields of a piece of text: none, another choice, or log probabilities.
    st.sampled_from([{}, {}, {}, {"choice": 1}, {"choice": 2}, {"logprobs": [1]}, {"extra": {"x": 1}, "choice": 1}]),
)
other_drafts = st.sampled_from(
    [
        NewEvent("started", {"attempt": 1}),
        NewEvent("restarted", {"attempt": 2}),
        NewEvent("tool_call_delta", {"index": 0, "arguments": "{", "content": "no text"}),
        NewEvent("done", {"content": "abc"}),
    ]
)
histories = st.lists(text_drafts | other_drafts, max_size=25)


def numbered(drafts: list[NewEvent], first: int = 1) -> list[Event]:
    return [Event(first + i, draft.type, draft.encode()) for i, draft in enumerate(drafts)]


def said(pieces: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, Any, str]]:
    """Returns the pieces with the text of neighbours joined by type and choice: merging must not change this."""
    found: list[tuple[str, Any, str]] = []
    for kind, fields in pieces:
        if kind in TEXT and fields.keys() <= {"content", "choice"}:
            if found and found[-1][:2] == (kind, fields.get("choice")):
                found[-1] = (kind, fields.get("choice"), found[-1][2] + fields["content"])
            else:
                found.append((kind, fields.get("choice"), fields["content"]))
        else:
            found.append((kind, "whole", repr(sorted(fields.items()))))
    return found


def test_the_terminal_types_and_the_types_of_text_are_types() -> None:
    assert TERMINAL < TYPES
    assert TEXT < TYPES
    assert not TERMINAL & TEXT


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_only_the_three_ends_are_terminal(kind: str) -> None:
    assert Event(1, kind, b"{}").terminal is (kind in {"done", "failed", "cancelled"})


@given(st.dictionaries(st.text(min_size=1, max_size=5), texts, min_size=1))
def test_an_events_data_is_one_line_of_json_that_gives_its_fields_back(fields: dict[str, str]) -> None:
    data = NewEvent("content", fields).encode()
    assert b"\n" not in data
    assert b"\r" not in data
    assert Event(1, "content", data).fields() == fields


@pytest.mark.parametrize("name", ["seq", "type"])
def test_no_event_has_a_field_that_readers_get_in_front(name: str) -> None:
    """Clients would find the key twice and take the last."""
    with pytest.raises(ValueError, match=f"an event tool_call with a field `{name}`"):
        NewEvent("tool_call", {"index": 0, name: "custom"}).encode()


def test_typed_data_has_the_type_in_front() -> None:
    event = Event(5, "content", b'{"content":"a"}')
    assert event.data_with_type() == b'{"type":"content","content":"a"}'


@given(histories)
def test_typed_data_of_every_event_is_its_fields_and_the_type(drafts: list[NewEvent]) -> None:
    for event in numbered(drafts):
        assert orjson.loads(event.data_with_type()) == {"type": event.type, **event.fields()}


def live_message(events: list[Event]) -> bytes:
    """Builds the message that `write` of parts/job.lua publishes; test_scripts.py compares the two on a real server."""
    return b"\n".join(b'{"seq":%d,"type":"%s",%s' % (e.seq, e.type.encode(), e.data[1:]) for e in events)


@given(histories.filter(bool), st.integers(1, 10**15))
def test_a_live_message_gives_back_its_events_byte_for_byte(drafts: list[NewEvent], first: int) -> None:
    events = numbered(drafts, first)
    assert parse_live(live_message(events)) == events


@pytest.mark.parametrize("message", [b"", b"hello", b'{"id":1}', b'{"seq":1,"type":"a","b":1}\n', b"\n"])
def test_a_live_message_that_no_script_wrote_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its subclasses of index() and int() count too
        parse_live(message)


@given(histories)
def test_merging_drafts_changes_nothing_that_is_said(drafts: list[NewEvent]) -> None:
    before = [(d.type, dict(d.fields)) for d in drafts]
    merged = merge_drafts(drafts)
    assert said([(d.type, d.fields) for d in merged]) == said(before)
    assert [(d.type, d.fields) for d in drafts] == before, "the drafts given are left as they were"


@given(histories)
def test_merged_drafts_have_nothing_left_to_merge(drafts: list[NewEvent]) -> None:
    merged = merge_drafts(drafts)
    assert len(merged) == len(said([(d.type, d.fields) for d in drafts]))
    assert merge_drafts(merged) == merged


@given(histories)
def test_merging_a_history_changes_nothing_that_is_said(drafts: list[NewEvent]) -> None:
    events = numbered(drafts)
    merged = list(merge(events))
    assert said([(e.type, e.fields()) for e in merged]) == said([(e.type, e.fields()) for e in events])
    assert list(merge(merged)) == merged


@given(histories.filter(bool), st.integers(1, 1_000))
def test_each_merged_event_has_the_number_of_the_last_that_it_covers(drafts: list[NewEvent], first: int) -> None:
    events = numbered(drafts, first)
    merged = list(merge(events))
    ids = [event.seq for event in merged]
    assert ids == sorted(set(ids))
    assert ids[-1] == events[-1].seq
    start = 0
    for event in merged:
        covered = [e for e in events[start:] if e.seq <= event.seq]
        start += len(covered)
        if len(covered) == 1:
            assert event == covered[0], "an event that merges with nothing keeps its bytes"
        else:
            assert {e.type for e in covered} == {event.type}
            assert event.fields()["content"] == "".join(e.fields()["content"] for e in covered)


@given(histories, st.data())
def test_a_history_may_be_merged_in_parts(drafts: list[NewEvent], data: st.DataObject) -> None:
    events = numbered(drafts)
    cut = data.draw(st.integers(0, len(events)))
    parts = [*merge(events[:cut]), *merge(events[cut:])]
    assert list(merge(parts)) == list(merge(events))


@given(histories, st.integers(1, 3 * PAGE_SIZE))
def test_a_merged_history_expands_to_the_events_that_it_was_made_of(drafts: list[NewEvent], first: int) -> None:
    """Byte for byte, also for characters of two code units in JavaScript or four bytes in UTF-8."""
    events = numbered(drafts, first)
    merged = list(merge(events))
    assert [piece for event in merged for piece in event.expand()] == events
    assert [event.after for event in merged] == [first - 1, *(event.seq for event in merged)][: len(merged)]


@given(histories.filter(bool), st.data())
def test_what_follows_a_position_in_a_merged_event_is_exactly_the_rest(
    drafts: list[NewEvent], data: st.DataObject
) -> None:
    events = numbered(drafts)
    position = data.draw(st.integers(0, len(events) - 1))
    rest = [event.since(position) for event in merge(events) if event.seq > position]
    assert rest[0].after == position
    assert [piece for event in rest for piece in event.expand()] == events[position:]
    assert all(len(event.chunk_lengths) != 1 for event in rest), "a single piece is a plain event"


@pytest.mark.parametrize("first", [1, 3, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1])
def test_no_merged_event_covers_both_sides_of_a_multiple_of_the_span(first: int) -> None:
    """A reader that requests the numbers between two multiples would miss it."""
    events = [Event(first + n, "content", b'{"content":"a"}') for n in range(2 * PAGE_SIZE)]
    merged = list(merge(events))
    assert all(event.after // PAGE_SIZE == (event.seq - 1) // PAGE_SIZE for event in merged)
    assert len(merged) == 2 + (first % PAGE_SIZE != 1)
    assert [piece for event in merged for piece in event.expand()] == events


def test_a_merged_event_holds_a_bounded_text_unless_a_single_piece_is_longer() -> None:
    texts = ["\u2028" * 10_000] * 5 + ["x" * 200_000, "y", "z"]
    events = numbered([NewEvent("content", {"content": text}) for text in texts])
    merged = list(merge(events))
    assert [event.seq for event in merged] == [2, 4, 5, 6, 8]
    assert all(len(event.data) <= 65_550 for event in merged if event.chunk_lengths)


@pytest.mark.parametrize("data", [b"{}", b'{"content":null}', b'{"content":[]}'])
def test_a_text_event_without_a_text_merges_with_nothing(data: bytes) -> None:
    """A person may have written it into the log by hand."""
    events = [Event(1, "content", b'{"content":"a"}'), Event(2, "content", data), Event(3, "content", data)]
    assert list(merge(events)) == events


def test_text_with_log_probabilities_stays_with_its_tokens() -> None:
    drafts = [
        NewEvent("content", {"content": "a", "logprobs": {}}),
        NewEvent("content", {"content": "b", "logprobs": {}}),
    ]
    assert merge_drafts(drafts) == drafts


def test_pieces_of_two_choices_are_not_mixed() -> None:
    drafts = [NewEvent("content", {"content": "a"}), NewEvent("content", {"content": "b", "choice": 1})]
    assert merge_drafts(drafts) == drafts


def test_merging_is_lazy_enough_for_an_endless_history() -> None:
    def endless() -> Any:
        seq = 0
        while True:
            seq += 2
            yield Event(seq - 1, "content", b'{"content":"a"}')
            yield Event(seq, "reasoning", b'{"content":"b"}')

    assert next(merge(endless())).seq == 1
