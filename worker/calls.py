"""Tool and function calls, put together from the fragments that servers send (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from readalong.errors import ModelError
from worker.values import as_dict, as_index, as_text, parse_leniently, too_deep

_TOO_DEEP: Final = "the value is nested too deeply"


@dataclass(slots=True)
class Call:
    """One call so far; `arguments` are the fragments of its JSON."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: list[str] = field(default_factory=list)

    def extend(self, function: dict[str, Any]) -> str:
        """Adds a fragment's name and arguments; some repeat the name in each. Answers the arguments' text."""
        self.name = self.name or as_text(function.get("name"))
        # Ollama and others give the arguments as an object.
        text = as_text(function.get("arguments")) or ""
        if text:
            self.arguments.append(text)
        return text

    def parsed(self) -> dict[str, Any]:
        """`arguments`; if they are no JSON it is None, with `arguments_error` and the raw `arguments_text`."""
        text = "".join(self.arguments)
        if not text.strip():
            return {"arguments": {}}
        try:
            value = parse_leniently(text.encode())
        except ModelError:
            return {"arguments": None, "arguments_error": _why(text), "arguments_text": text}
        if too_deep(value):
            return {"arguments": None, "arguments_error": _TOO_DEEP, "arguments_text": text}
        return {"arguments": value}


class Calls:
    """The tool calls of one choice, in the order in which they began."""

    def __init__(self) -> None:
        self.all: list[Call] = []
        #: The call that each of the server's indexes means now.
        self._by_index: dict[int, Call] = {}

    def add(self, fragment: dict[str, Any]) -> dict[str, Any]:
        """Adds a fragment to its call; answers the fields of a `tool_call_delta`. Raises ModelError."""
        function = as_dict(fragment.get("function"), "function")
        index, call_id = as_index(fragment.get("index"), "tool_calls.index"), as_text(fragment.get("id"))
        call = self._find(index, call_id, as_text(function.get("name")))
        if call is None:
            call = Call(len(self.all))
            self.all.append(call)
        if index is not None:
            self._by_index[index] = call
        call.id = call.id or call_id
        text = call.extend(function)
        return {"index": call.index, "id": call.id, "name": call.name, "arguments": text}

    def _find(self, index: int | None, call_id: str | None, name: str | None) -> Call | None:
        """The call that a fragment belongs to: some servers omit `index`, others always say 0, some omit both."""
        if call_id is not None:
            for call in self.all:
                if call.id == call_id:
                    return call
        found = self._by_index.get(index) if index is not None else (self.all[-1] if self.all else None)
        if found is None:
            return None
        another_id = call_id is not None and found.id is not None
        another_name = index is None and name is not None and found.name not in (None, name)
        return None if another_id or another_name else found


def _why(text: str) -> str:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return str(error)
    return "not JSON"
