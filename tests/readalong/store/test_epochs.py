"""Positions and epochs: the ids that a client may send back, and the number at which two logs part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.core.events import Event
from readalong.core.position import Position
from readalong.store.epochs import Epochs, named

stretches = st.lists(st.tuples(st.integers(1, 20), st.sampled_from("abc")), max_size=6)


def epochs(entries: list[tuple[int, str]]) -> Epochs:
    return Epochs(" ".join(f"{first}:{name}" for first, name in entries))


@given(st.integers(0, 2**53), st.sampled_from(["", "9f3c21", "0", "B"]))
def test_a_position_comes_back_as_it_went(seq: int, epoch: str) -> None:
    assert Position.parse(str(Position(seq, epoch))) == (seq, epoch)
    assert Position.parse(f"00{Position(seq, epoch)}") == (seq, epoch)


@pytest.mark.parametrize(
    "text", ["", "-", "4-", "-a", "4-a-b", "4 -a", "4-ü", "4-a\n", "4_a", f"4-{'a' * 33}", "1" * 17]
)
def test_what_is_no_id_is_no_position(text: str) -> None:
    with pytest.raises(ValueError, match="not the id"):
        Position.parse(text)


@given(stretches, stretches, st.integers(0, 25))
def test_two_logs_part_at_the_first_number_that_both_know_otherwise(
    one: list[tuple[int, str]], other: list[tuple[int, str]], newest: int
) -> None:
    mine, theirs = epochs(one), epochs(other)
    numbers = range(1, newest + 1)
    apart = [n for n in numbers if mine.at(n) and theirs.at(n) and mine.at(n) != theirs.at(n)]
    assert mine.parting(theirs, newest) == (apart[0] if apart else None)
    known = {n: mine.at(n) for n in numbers}
    mine.follow(theirs, newest)
    assert {n: mine.at(n) for n in numbers} == known
    assert mine.after(newest) == theirs.after(newest)


def test_the_field_may_hold_anything() -> None:
    """A person may have written it."""
    assert repr(Epochs("x 2:a 3 :b 4: 99999999999999999999:c 5:d")) == "<Epochs 2:a 5:d>"


@pytest.mark.parametrize(
    ("kind", "data", "epoch"),
    [
        ("started", b'{"attempt":1,"epoch":"a"}', "a"),
        ("restarted", b'{"attempt":2}', ""),
        ("failed", b'{"content":"","epoch":"a"}', "a"),
        ("failed", b'{"content":""}', None),
        ("done", b'{"extra":{"epoch":"a"}}', None),
        ("content", b'{"content":"","epoch":"a"}', None),
    ],
)
def test_the_first_event_of_an_epoch_names_it(kind: str, data: bytes, epoch: str | None) -> None:
    assert named(Event(3, kind, data)) == epoch
