"""A growing text whose copies share what they have in common."""

from __future__ import annotations

from copy import deepcopy

from readalong.api.wire.openai_responses.growing_text import GrowingText


def test_copies_grow_apart() -> None:
    """Whichever of them appends first, and however often they are read or copied meanwhile."""
    first = GrowingText()
    assert not first
    first.append("a")
    second = deepcopy(first)
    first.append("b")
    assert str(first) == "ab"
    second.append("c")
    third = deepcopy(second)
    first.append("d")
    third.append("e")
    assert [str(text) for text in (first, second, third)] == ["abd", "ac", "ace"]


def test_copies_share_their_text() -> None:
    """A page of 1,024 pieces costs a copy one block, and not its text."""
    text = GrowingText()
    for _ in range(1024):
        text.append("x" * 100)
    copies = [deepcopy(text) for _ in range(64)]
    assert {id(copy._blocks) for copy in copies} == {id(text._blocks)}
    assert len(text._blocks) == 1
