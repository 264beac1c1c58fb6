"""Events become the transcript of a job."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.core.events import Event, NewEvent, merge
from readalong.core.transcript import Transcript


def events_of(*pairs: tuple[str, dict[str, Any]]) -> list[Event]:
    return [Event(i, kind, NewEvent(kind, fields).encode()) for i, (kind, fields) in enumerate(pairs, 1)]


def transcript_of(*pairs: tuple[str, dict[str, Any]]) -> Transcript:
    transcript = Transcript()
    transcript.add_all(events_of(*pairs))
    return transcript


def test_a_whole_job_folds_to_its_words_and_its_end() -> None:
    transcript = transcript_of(
        ("queued", {"job_id": "j"}),
        ("started", {"attempt": 1, "worker": {}}),
        ("reasoning", {"content": "hm "}),
        ("content", {"content": "Hel"}),
        ("content", {"content": "lo"}),
        ("tool_call_delta", {"index": 0, "arguments": "{"}),
        ("tool_call", {"index": 0, "name": "f", "arguments": {}}),
        ("function_call", {"name": "g", "arguments": {}}),
        ("refusal", {"content": "no"}),
        ("done", {"content": "Hello", "finish_reason": "stop"}),
    )
    assert transcript.text() == "Hello"
    assert transcript.reasoning == ["hm "]
    assert transcript.refusal == ["no"]
    assert transcript.tool_calls == [{"index": 0, "name": "f", "arguments": {}}]
    assert transcript.function_call == {"name": "g", "arguments": {}}
    assert (transcript.attempt, transcript.last_seq, transcript.end) == (1, 10, "done")
    assert transcript.end_fields == {"content": "Hello", "finish_reason": "stop"}


@pytest.mark.parametrize("kind", ["done", "failed", "cancelled"])
def test_each_end_is_told(kind: str) -> None:
    assert transcript_of(("started", {"attempt": 1}), (kind, {"content": ""})).end == kind


def test_before_the_end_there_is_none() -> None:
    assert transcript_of(("started", {"attempt": 1})).end is None


def test_a_restart_voids_all_that_came_before_it() -> None:
    transcript = transcript_of(
        ("started", {"attempt": 1}),
        ("reasoning", {"content": "x"}),
        ("refusal", {"content": "x"}),
        ("content", {"content": "x"}),
        ("content", {"content": "x", "choice": 1}),
        ("tool_call", {"index": 0}),
        ("function_call", {"name": "g"}),
        ("restarted", {"attempt": 2, "reason": "worker_lost"}),
        ("content", {"content": "y"}),
    )
    expected = Transcript(last_seq=9, attempt=2, content={0: ["y"]})
    assert transcript == expected


def test_choices_are_kept_apart_and_the_first_is_the_text() -> None:
    transcript = transcript_of(
        ("content", {"content": "a"}),
        ("content", {"content": "b", "choice": 1}),
        ("reasoning", {"content": "not ours", "choice": 1}),
    )
    assert (transcript.text(), transcript.text(1), transcript.text(2)) == ("a", "b", "")
    assert transcript.reasoning == []


def test_a_type_that_a_later_version_wrote_moves_the_position_only() -> None:
    transcript = transcript_of(("content", {"content": "a"}), ("audio", {"pcm": "…"}))
    assert transcript == Transcript(last_seq=2, content={0: ["a"]})


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["content", "reasoning", "refusal", "content", "restarted"]),
            st.text(max_size=5),
            st.sampled_from([None, 1]),
        )
    )
)
def test_a_merged_history_says_the_same(pieces: list[tuple[str, str, int | None]]) -> None:
    pairs = [
        (kind, {"attempt": 2} if kind == "restarted" else {"content": text} | ({"choice": choice} if choice else {}))
        for kind, text, choice in pieces
    ]
    plain, merged = Transcript(), Transcript()
    plain.add_all(events_of(*pairs))
    merged.add_all(merge(events_of(*pairs)))
    assert merged.last_seq == plain.last_seq
    assert [merged.text(choice) for choice in (0, 1)] == [plain.text(choice) for choice in (0, 1)]
    assert "".join(merged.reasoning) == "".join(plain.reasoning)
    assert "".join(merged.refusal) == "".join(plain.refusal)
