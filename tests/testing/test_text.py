"""The model's text and its tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.testing import text_for, tokens_for
from readalong.testing.errors import ApiError
from readalong.testing.faults import split_frame
from readalong.testing.paced_sender import token_intervals
from readalong.testing.text import story, tokenize, unicode_story
from tests.testing.support import ask


@given(st.text())
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(tokenize(text)) == text


@given(st.text(), st.integers(0, 2**64))
def test_any_question_gets_a_story(question: str, seed: int) -> None:
    told = story(question, seed)
    assert told.count("\n\n") >= 5
    assert "$" not in told or "$" in question


def test_the_same_request_gives_the_same_text() -> None:
    assert text_for(ask()) == text_for(ask("another-model"))


def test_another_question_gives_another_text() -> None:
    other = ask(messages=[{"role": "user", "content": "Why are penguins cold?"}])
    assert text_for(other) != text_for(ask())


def test_the_text_names_the_words_of_the_question() -> None:
    body = ask(messages=[{"role": "user", "content": [{"type": "text", "text": "Why do penguins waddle?"}]}])
    assert "penguins" in text_for(body)
    assert "waddle" in text_for(body)


def test_tokens_sets_the_exact_length() -> None:
    assert len(tokens_for(ask(demo={"tokens": 4000}))) == 4000
    assert tokens_for(ask(demo={"tokens": 0})) == ()


def test_max_tokens_cuts_the_text() -> None:
    assert tokens_for(ask(max_tokens=7)) == tokens_for(ask())[:7]
    assert tokens_for(ask(max_completion_tokens=7, max_tokens=9)) == tokens_for(ask())[:7]


def test_a_stop_sequence_ends_the_text_before_it_even_within_a_token() -> None:
    whole = text_for(ask())
    assert text_for(ask(stop="treaming")) == whole[: whole.index("treaming")]
    assert text_for(ask(stop=["Redis", "never-said"])) == whole[: whole.index("Redis")]


def test_a_stop_sequence_ends_an_endless_text() -> None:
    assert text_for(ask("demo-endless", stop="Redis")) == text_for(ask(stop="Redis"))


def test_unicode_text_has_what_breaks_careless_readers() -> None:
    told = unicode_story("", 1)
    for character in "\u2028\u2029\u0085\x00\u200d\u0301\ufeff\u6f22\U0001d11e":
        assert character in told


@given(st.text(min_size=1))
def test_shards_joined_are_the_frame_and_cut_every_long_character(text: str) -> None:
    frame = text.encode()
    parts = list(split_frame(frame))
    assert b"".join(parts) == frame
    assert all(len(part.decode(errors="ignore").encode()) <= len(part) for part in parts)
    for part in parts:
        assert not any(byte & 0xC0 == 0x80 for byte in part[1:])


def test_the_pace_is_uneven_but_right_on_average() -> None:
    pauses = token_intervals(50)
    drawn = [next(pauses) for _ in range(1010)]
    assert sum(drawn) / len(drawn) == pytest.approx(0.02, rel=0.001)
    assert min(drawn) < 0.015
    assert max(drawn) > 0.025


def test_an_unknown_behaviour_is_refused_by_name() -> None:
    with pytest.raises(ApiError, match="Unknown behaviour 'dance'"):
        text_for(ask(demo={"behaviour": "dance"}))
