"""A text that grows piece by piece, and whose copies cost next to nothing."""

from __future__ import annotations

from typing import Any, Self


class GrowingText:
    """The fan-out keeps copies of a format's state, one for each page of the log. Copies share the blocks of text that
    they have in common: copying an answer of megabytes each time would be quadratic."""

    __slots__ = ("_blocks", "_count", "_tail")

    def __init__(self) -> None:
        #: Joined pieces, shared with copies. A copy that is ahead has appended more than `_count`.
        self._blocks: list[str] = []
        self._count = 0
        self._tail: list[str] = []

    def append(self, text: str) -> None:
        self._tail.append(text)

    def __bool__(self) -> bool:
        return bool(self._count or self._tail)

    def __str__(self) -> str:
        self._fold()
        return "".join(self._blocks[: self._count])

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        self._fold()
        copied = type(self)()
        copied._blocks, copied._count = self._blocks, self._count
        return copied

    def _fold(self) -> None:
        if not self._tail:
            return
        if len(self._blocks) > self._count:
            self._blocks = self._blocks[: self._count]
        self._blocks.append("".join(self._tail))
        self._count += 1
        self._tail = []
