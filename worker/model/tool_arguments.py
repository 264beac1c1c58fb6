"""The arguments of a tool call, as their fragments come (pure).

Whether they are whole is known after each fragment without reading those before it again, which would be quadratic.
"""

from __future__ import annotations

import re
from typing import Final

import orjson

from readalong.worker.model.limits import has_too_many_values

#: What begins and ends objects, lists and texts.
_MARKS: Final = re.compile(r'["\\{}\[\]]')
_IN_TEXT: Final = re.compile(r'["\\]')


class ToolArguments:
    """JSON in fragments, or a custom tool's text."""

    __slots__ = ("_closed", "_deep", "_fragments", "_in_text", "_size", "_skip", "_whole")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forgets all fragments."""
        self._fragments: list[str] = []
        self._size = 0
        self._deep = 0
        self._in_text = False
        #: The next character is escaped.
        self._skip = False
        #: The first object or list has ended, or the JSON cannot become one.
        self._closed = False
        self._whole = False

    def __bool__(self) -> bool:
        return bool(self._fragments)

    def text(self) -> str:
        if len(self._fragments) > 1:
            self._fragments = ["".join(self._fragments)]
        return self._fragments[0] if self._fragments else ""

    def add(self, text: str) -> None:
        self._fragments.append(text)
        self._size += len(text)
        if not self._closed:
            self._scan(text)
        elif self._whole and text.strip():
            self._whole = False

    @property
    def are_whole(self) -> bool:
        """Whether they are an object or a list of JSON, and nothing more."""
        return self._whole

    def are(self, text: str) -> bool:
        """Whether they are this."""
        return len(text) == self._size and text == self.text()

    def _scan(self, text: str) -> None:
        at = 0
        if not (self._deep or self._in_text):
            start = text.lstrip(" \t\r\n")
            if not start:
                return
            if start[0] not in "{[":
                self._closed = True
                return
        if self._skip:
            at, self._skip = 1, False
        while mark := (_IN_TEXT if self._in_text else _MARKS).search(text, at):
            at = mark.end()
            match mark[0]:
                case '"':
                    self._in_text = not self._in_text
                case "\\":
                    self._skip = at == len(text)
                    at += 1
                case "{" | "[":
                    self._deep += 1
                case _:
                    self._deep -= 1
                    if not self._deep:
                        self._closed = True
                        self._whole = _is_json(self.text())
                        return


def _is_json(text: str) -> bool:
    if has_too_many_values(text):
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
