"""One tool call after the other: the only order in which the SDKs' stream helpers end each call whole (pure)."""

from __future__ import annotations

import re
from typing import Any, Final

_MARKS: Final = re.compile(r'\\.?|["{}\[\]]', re.DOTALL)


class CallOrder:
    """Orders the fragments of one choice's calls.

    The stream helpers of both SDKs take a call for whole when a fragment of another one comes, and parse it. A model
    may send the fragments of two calls in turns. Then those of the second one are held back until all are said; a call
    whose arguments are whole is followed at once.
    """

    __slots__ = ("_current", "_end", "_held")

    def __init__(self) -> None:
        #: The call whose fragments pass.
        self._current: int | None = None
        self._end = _JsonEnd()
        #: The fields of the calls that are held, by index; the arguments in pieces.
        self._held: dict[int, dict[str, Any]] = {}

    def take(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        """Returns the fragment if it may be said now; else it is held."""
        index: int = fields["index"]
        if index != self._current:
            if self._held or not (self._current is None or self._end.reached):
                self._hold(index, fields)
                return None
            self._current, self._end = index, _JsonEnd()
        # The text of a custom tool has no end of its own, and the helpers parse none.
        self._end.add("{}" if fields.get("tool_type") == "custom" else fields["arguments"])
        return fields

    def take_held(self) -> list[dict[str, Any]]:
        """Returns what is held: a fragment for each call, in the order in which the calls began."""
        held, self._held = self._held, {}
        return [{**fields, "arguments": "".join(fields["arguments"])} for fields in held.values()]

    def _hold(self, index: int, fields: dict[str, Any]) -> None:
        before = self._held.setdefault(index, {"arguments": []})
        pieces: list[str] = before["arguments"]
        pieces.append(fields["arguments"])
        extra = {**before.get("extra", {}), **fields.get("extra", {})}
        before |= {**fields, "arguments": pieces, **({"extra": extra} if extra else {})}


class _JsonEnd:
    """Whether a JSON value that comes in pieces has come to its end."""

    __slots__ = ("_begun", "_depth", "_escaped", "_in_string")

    def __init__(self) -> None:
        self._begun = self._in_string = self._escaped = False
        self._depth = 0

    @property
    def reached(self) -> bool:
        return self._begun and not self._in_string and self._depth <= 0

    def add(self, piece: str) -> None:
        self._begun = self._begun or bool(piece.strip())
        if self._escaped and piece:
            piece, self._escaped = piece[1:], False
        for mark in _MARKS.findall(piece):
            if mark == '"':
                self._in_string = not self._in_string
            elif mark[0] == "\\":
                self._escaped = len(mark) == 1
            elif not self._in_string:
                self._depth += 1 if mark in "{[" else -1
