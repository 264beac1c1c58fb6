"""Collects the arguments of a tool call from fragments (pure).

Each fragment is scanned once: reading all of them again after each one would be quadratic.
"""

from __future__ import annotations

import re
from typing import Final

import orjson

from readalong.worker.model.limits import has_too_many_values

#: Characters that begin or end an object, a list or a string.
_MARKS: Final = re.compile(r'["\\{}\[\]]')
_IN_STRING: Final = re.compile(r'["\\]')


class ToolArguments:
    """JSON in fragments, or the text of a custom tool."""

    __slots__ = ("_closed", "_complete", "_depth", "_fragments", "_in_string", "_size", "_skip")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Removes all fragments."""
        self._fragments: list[str] = []
        self._size = 0
        self._depth = 0
        self._in_string = False
        #: The next character is escaped.
        self._skip = False
        #: The first object or list has ended, or the JSON cannot become one.
        self._closed = False
        self._complete = False

    def __bool__(self) -> bool:
        return bool(self._fragments)

    def text(self) -> str:
        """Returns the joined fragments."""
        if len(self._fragments) > 1:
            self._fragments = ["".join(self._fragments)]
        return self._fragments[0] if self._fragments else ""

    def add(self, text: str) -> None:
        """Adds a fragment."""
        self._fragments.append(text)
        self._size += len(text)
        if not self._closed:
            self._scan(text)
        elif self._complete and text.strip():
            self._complete = False

    @property
    def is_complete(self) -> bool:
        """Whether the fragments are one JSON object or list and nothing more."""
        return self._complete

    def equals(self, text: str) -> bool:
        """Returns whether the fragments make this text."""
        return len(text) == self._size and text == self.text()

    def _scan(self, text: str) -> None:
        at = 0
        if not (self._depth or self._in_string):
            start = text.lstrip(" \t\r\n")
            if not start:
                return
            if start[0] not in "{[":
                self._closed = True
                return
        if self._skip:
            at, self._skip = 1, False
        while mark := (_IN_STRING if self._in_string else _MARKS).search(text, at):
            at = mark.end()
            match mark[0]:
                case '"':
                    self._in_string = not self._in_string
                case "\\":
                    self._skip = at == len(text)
                    at += 1
                case "{" | "[":
                    self._depth += 1
                case _:
                    self._depth -= 1
                    if not self._depth:
                        self._closed = True
                        self._complete = _is_json(self.text())
                        return


def _is_json(text: str) -> bool:
    if has_too_many_values(text):
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
