"""Assembles tool and function calls from their fragments (pure).

Index, id and name say which call a fragment belongs to. Servers leave each of them out, repeat it, or send it empty, in
pieces or anew with each fragment. Then two calls are told apart by whether the first one's arguments are complete.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from readalong.core.errors import ModelError
from readalong.worker.model.chunks.lenient_json import as_dict, as_index, as_text, parse_leniently, too_deep
from readalong.worker.model.chunks.tool_arguments import ToolArguments
from readalong.worker.model.limits import MAX_VALUES, Budget, has_too_many_values, size_of

_TOO_DEEP: Final = "the value is nested too deeply"
_TOO_MANY: Final = f"more than {MAX_VALUES} values"
#: Fields of a fragment that are read. The others stay on the call: Gemini refuses the next turn without the signature
#: of a thought.
_READ_FIELDS: Final = frozenset({"index", "id", "type", "function", "custom", "name", "arguments", "input"})
#: Names of our events that a server's own field must not take.
_RESERVED_FIELDS: Final = frozenset({"seq", "choice", "tool_type", "arguments_error", "arguments_text"})


@dataclass(slots=True)
class ToolCall:
    """One call so far."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: ToolArguments = field(default_factory=ToolArguments)
    #: The arguments came as an object.
    given_as_object: bool = False
    #: The call is of a custom tool, whose input is any text.
    custom: bool = False
    #: Fields that are not read.
    extra: dict[str, Any] = field(default_factory=dict)
    #: The number of the chunk that named the call last.
    named_in: int = 0

    def extend(self, function: dict[str, Any]) -> str:
        """Adds a fragment's name and arguments. Returns the text of the arguments."""
        self._rename(as_text(function.get("name")))
        given = function.get("input" if self.custom else "arguments")
        # Ollama and others send the arguments as an object, some an empty one before the text.
        if isinstance(given, dict | list):
            self.given_as_object = True
            text = as_text(given) if given else None
        else:
            text = as_text(given)
        if not text or (not self.custom and self.arguments.equals(text) and self._is_complete()):
            return ""  # nothing, or a repetition of the whole
        if self.arguments.equals("{}") and text.lstrip().startswith("{"):
            self.arguments.clear()
        self.arguments.add(text)
        return text

    def is_followed_by(self, text: str) -> bool:
        """Returns whether arguments that begin like this are another call's, since this call's are complete."""
        return (self.custom or text.lstrip()[:1] in ("{", "[")) and self._is_complete()

    def differs(self, name: str | None, text: str) -> bool:
        """Returns whether a fragment with this call's id, but another index, begins another call."""
        return name is not None and (self.name not in (None, name) or self.is_followed_by(text))

    def fields(self) -> dict[str, Any]:
        """Returns id, name, arguments as in `parsed`, and the fields that are not read."""
        if self.custom:
            arguments: dict[str, Any] = {"tool_type": "custom", "arguments": None, "input": self._text()}
        else:
            arguments = self.parsed()
        return {"id": self.id, "name": self.name, **arguments, **self.extra}

    def parsed(self) -> dict[str, Any]:
        """Returns `arguments`; for invalid JSON None, with `arguments_error` and the raw `arguments_text`."""
        text = self._text()
        if not text.strip():
            return {"arguments": {}}
        if has_too_many_values(text):
            return {"arguments": None, "arguments_error": _TOO_MANY, "arguments_text": text}
        try:
            value = parse_leniently(text.encode(), nan=False)
        except ModelError:
            return {"arguments": None, "arguments_error": _json_error(text), "arguments_text": text}
        if too_deep(value):
            return {"arguments": None, "arguments_error": _TOO_DEEP, "arguments_text": text}
        return {"arguments": value}

    def _rename(self, name: str | None) -> None:
        if name is None or name == self.name:
            return
        if self.name is None or name.startswith(self.name):
            self.name = name
        elif not self.arguments and not self.given_as_object:
            self.name += name

    def _text(self) -> str:
        return self.arguments.text()

    def _is_complete(self) -> bool:
        return self.given_as_object or self.custom or self.arguments.is_complete


class ToolCallAccumulator:
    """The tool calls of one choice, in the order in which they began."""

    def __init__(self, budget: Budget, clean: Callable[[Any], Any]) -> None:
        """`clean` removes our keys from a value that is not the model's own text."""
        self._budget = budget
        self._clean = clean
        self.all: list[ToolCall] = []
        #: The call that each of the server's indexes means now.
        self._by_index: dict[int, ToolCall] = {}
        self._chunk = 0

    def add(self, fragments: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Adds a chunk's fragments to their calls, as many as the budget allows. Raises ModelError.

        Returns the fields of one `tool_call_delta` for each fragment.
        """
        self._chunk += 1
        added = []
        for fragment in fragments:
            if (fields := self._add(fragment)) is None:
                break
            added.append(fields)
        return added

    def has(self, fragment: dict[str, Any]) -> bool:
        """Returns whether a whole call of a message is one of these calls."""
        call_id, name = as_text(fragment.get("id")), as_text(_function(fragment)[0].get("name"))
        return any(call.id == call_id if call_id and call.id else call.name == name for call in self.all)

    def _add(self, fragment: dict[str, Any]) -> dict[str, Any] | None:
        """Returns the fields of the fragment's event; None if the budget is exceeded."""
        function, custom = _function(fragment)
        index, call_id = as_index(fragment.get("index"), "tool_calls.index"), as_text(fragment.get("id"))
        call_id = self._clean(call_id)
        call = self._find_call(index, call_id, function, "type" in fragment)
        if call is None:
            if not self._budget.add_call():
                return None
            call = ToolCall(len(self.all))
            self.all.append(call)
        if index is not None:
            self._by_index[index] = call
        call.id = call.id or call_id
        call.custom = call.custom or custom
        named = call.name
        text = call.extend(function)
        if call.name is not named:
            call.name = self._clean(call.name)
        rest = self._clean(_unread_fields(fragment, function))
        # Each event repeats the id and the name.
        size = len(text) + len(call.id or "") + len(call.name or "") + (size_of(rest) if rest else 0)
        if not self._budget.add_fragment(size):
            return None
        if function.get("name"):
            call.named_in = self._chunk
        fields = {"index": call.index, "id": call.id, "name": call.name, "arguments": text}
        if call.custom:
            fields["tool_type"] = "custom"
        if rest:
            call.extra |= rest
            fields |= rest
        return fields

    def _find_call(
        self, index: int | None, call_id: str | None, function: dict[str, Any], typed: bool
    ) -> ToolCall | None:
        """Returns the call that a fragment belongs to; None if it begins a call."""
        name, text = as_text(function.get("name")), as_text(function.get("arguments") or function.get("input")) or ""
        last = self.all[-1] if self.all else None
        found = last if index is None else self._by_index.get(index)
        if call_id is not None:
            for call in self.all:
                if call.id == call_id and not (found is None and call.differs(name, text)):
                    return call
        if found is None:
            # A nameless fragment with a new index continues the last call, unless that is complete.
            return last if last and not (name or call_id or last.is_followed_by(text)) else None
        another_id = call_id is not None and found.id is not None
        if name is None or found.name is None:
            continues = not (another_id and found.is_followed_by(text))
        elif name != found.name:
            is_empty = index is not None and not (another_id or found.arguments or found.given_as_object)
            continues = is_empty and (name.startswith(found.name) or not (call_id or typed))
        else:
            continues = self._continues_with_name(found, text, another_id, index is not None)
        return found if continues else None

    def _continues_with_name(self, call: ToolCall, text: str, another_id: bool, numbered: bool) -> bool:
        """Returns whether a fragment that repeats a call's name continues it; otherwise it calls the function again."""
        begins = call.is_followed_by(text or "{")
        if call.named_in == self._chunk and (begins or not call.arguments or not text):
            return False
        if another_id:
            return numbered and not begins
        return not (text and begins)


def _function(fragment: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Returns the function or the custom tool of a fragment, and whether it is a custom tool."""
    function = as_dict(fragment.get("function"), "function")
    custom = as_dict(fragment.get("custom"), "custom")
    if custom and not function:
        return custom, True
    if not function and fragment.keys() & {"name", "arguments"}:
        # Some servers have no `function` object around them.
        function = {name: fragment[name] for name in ("name", "arguments") if name in fragment}
    return function, False


def _unread_fields(fragment: dict[str, Any], function: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of a fragment that are not read."""
    rest = {
        name: value
        for name, value in fragment.items()
        if name not in _READ_FIELDS | _RESERVED_FIELDS and value not in (None, "", [], {})
    }
    inner = {
        name: value for name, value in function.items() if name not in _READ_FIELDS and value not in (None, "", [], {})
    }
    if inner:
        rest["function"] = inner
    return rest


def _json_error(text: str) -> str:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return str(error)
    return "not JSON"
