"""What one event of a face's stream means, and how a stream goes astray."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from tests.chaos.checker.report import Rule

#: The events with a piece of the first choice's text.
_TEXTS: Final = frozenset({"content", "text-delta", "response.output_text.delta"})

#: A fault: its rule, a sentence, and the number of the line.
Wrong = tuple[Rule, str, int]


class Told(NamedTuple):
    name: str
    #: The choice, the output index or another place.
    place: Any = None
    value: Any = None


def text_of(told: Told) -> str:
    """Returns the piece of the first choice's text in it."""
    return str(told.value) if told.name in _TEXTS and (told.name != "content" or not told.place) else ""


def astray(told: Told | None, expected: Sequence[Told], place: int) -> tuple[Rule, str]:
    """Says how an event differs from the expected one: it is a later one, an earlier one, or none of them."""
    if told is not None and place >= len(expected):
        return Rule.SECOND_END, "goes on after its end"
    if told is not None and told in expected[place + 1 :]:
        return Rule.GAP, "leaves something out"
    if told is not None and told in expected[:place]:
        return Rule.REPEAT, "repeats something"
    return Rule.BYTES, "says what the log does not"


def parsed(data: str) -> dict[str, Any] | None:
    try:
        found = json.loads(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
