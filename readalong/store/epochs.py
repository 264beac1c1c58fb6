"""Which claim wrote each number of a log: a number comes twice when Redis has lost the first event with it."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Final

from readalong.core.events import Event
from readalong.core.states import TERMINAL

_ENTRY: Final = re.compile(r"([0-9]{1,16}):(\S+)", re.ASCII)
#: Events that begin an attempt.
BEGINS: Final = frozenset({"started", "restarted"})


def epoch_of(token: str) -> str:
    """Returns the epoch of what the claim with this token writes, as `parts/job.lua` makes it."""
    return token[:6]


class Epochs:
    """Stretches of numbers, each by one epoch; "" is one that is not known: nothing is held against it.

    The job's hash keeps them in the field `epochs`: `2:9f3c21 30:b2c01a`. In the log, the first event of each epoch
    names it.
    """

    def __init__(self, text: str = "") -> None:
        """Reads the field. Ignores parts that are no entries."""
        self._firsts: list[int] = []
        self._names: list[str] = []
        for first, name in _ENTRY.findall(text):
            self.begin(int(first), name)

    def __repr__(self) -> str:
        return f"<Epochs {' '.join(f'{first}:{name}' for first, name in zip(self._firsts, self._names, strict=True))}>"

    @property
    def firsts(self) -> list[int]:
        """The first number of each stretch, in order."""
        return self._firsts

    @property
    def newest(self) -> str:
        """The epoch of the newest claim, whether it has written or not."""
        return self._names[-1] if self._names else ""

    def at(self, seq: int) -> str:
        """Returns the epoch of this number."""
        place = bisect_right(self._firsts, seq)
        return self._names[place - 1] if place else ""

    def begin(self, first: int, name: str) -> None:
        """Numbers from `first` on are by this epoch."""
        while self._firsts and self._firsts[-1] >= first:
            self._firsts.pop()
            self._names.pop()
        self._firsts.append(first)
        self._names.append(name)

    def after(self, seq: int) -> list[tuple[int, str]]:
        """Returns the stretches that begin after this number."""
        place = bisect_right(self._firsts, seq)
        return list(zip(self._firsts[place:], self._names[place:], strict=True))

    def follow(self, other: Epochs, seq: int) -> None:
        """Replaces the stretches after this number by those of the other."""
        place = bisect_right(self._firsts, seq)
        del self._firsts[place:], self._names[place:]
        for first, name in other.after(seq):
            self.begin(first, name)

    def parting(self, other: Epochs, newest: int) -> int | None:
        """Returns the first number, up to `newest`, that the two know to be by different epochs; None if there is
        none."""
        for first in sorted({*self._firsts, *other._firsts}):
            if first > newest:
                return None
            one, two = self.at(first), other.at(first)
            if one and two and one != two:
                return first
        return None


def named(event: Event) -> str | None:
    """Returns the epoch that begins with this event; None if it goes on with the one before it."""
    if event.type in BEGINS or (event.type in TERMINAL and b'"epoch":"' in event.data):
        epoch = event.fields().get("epoch")
        if isinstance(epoch, str):
            return epoch
    return "" if event.type in BEGINS else None
