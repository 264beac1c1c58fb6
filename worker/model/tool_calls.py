"""Tool and function calls, put together from the fragments that servers send (pure).

A fragment says by its index, its id and its name whose it is; servers leave each of them out, repeat it, send it empty,
in pieces, or anew with each fragment. What tells two calls apart then is whether the first one's arguments are whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from readalong.core.errors import ModelError
from readalong.worker.model.lenient_json import as_dict, as_index, as_text, parse_leniently, too_deep
from readalong.worker.model.limits import MOST_VALUES, Budget, has_too_many_values, size_of
from readalong.worker.model.tool_arguments import ToolArguments

_TOO_DEEP: Final = "the value is nested too deeply"
_TOO_MANY: Final = f"more than {MOST_VALUES} values"
#: Fields of a fragment that are read. The others are kept with the call, such as a signature of its thought, without
#: which Gemini refuses the next turn.
_READ: Final = frozenset({"index", "id", "type", "function", "custom", "name", "arguments", "input"})
#: Names in our events that a server's own field must not take.
_OURS: Final = frozenset({"choice", "arguments_error", "arguments_text"})


@dataclass(slots=True)
class ToolCall:
    """One call so far."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: ToolArguments = field(default_factory=ToolArguments)
    #: Its arguments came as an object.
    given_whole: bool = False
    #: It calls a custom tool, whose input is any text.
    custom: bool = False
    #: What came with it that is not read.
    extra: dict[str, Any] = field(default_factory=dict)
    #: The chunk that named it last.
    named_in: int = 0

    def extend(self, function: dict[str, Any]) -> str:
        """Adds a fragment's name and arguments. Returns the arguments' text."""
        self._rename(as_text(function.get("name")))
        given = function.get("input" if self.custom else "arguments")
        # Ollama and others give the arguments as an object, some an empty one before the text.
        if isinstance(given, dict | list):
            self.given_whole = True
            text = as_text(given) if given else None
        else:
            text = as_text(given)
        if not text or (not self.custom and self.arguments.are(text) and self._is_whole()):
            return ""  # nothing, or the whole once more
        if self.arguments.are("{}") and text.lstrip().startswith("{"):
            self.arguments.clear()
        self.arguments.add(text)
        return text

    def is_followed_by(self, text: str) -> bool:
        """Whether arguments that begin like this are another call's, since its own are whole."""
        return (self.custom or text.lstrip()[:1] in ("{", "[")) and self._is_whole()

    def differs(self, name: str | None, text: str) -> bool:
        """Whether a fragment with its id, but a number of its own, is another call all the same."""
        return name is not None and (self.name not in (None, name) or self.is_followed_by(text))

    def fields(self) -> dict[str, Any]:
        """Its id, its name, its arguments as `parsed`, and what came with it."""
        if self.custom:
            said: dict[str, Any] = {"type": "custom", "arguments": None, "input": self._text()}
        else:
            said = self.parsed()
        return {"id": self.id, "name": self.name, **said, **self.extra}

    def parsed(self) -> dict[str, Any]:
        """`arguments`; if they are no JSON it is None, with `arguments_error` and the raw `arguments_text`."""
        text = self._text()
        if not text.strip():
            return {"arguments": {}}
        if has_too_many_values(text):
            return {"arguments": None, "arguments_error": _TOO_MANY, "arguments_text": text}
        try:
            value = parse_leniently(text.encode(), nan=False)
        except ModelError:
            return {"arguments": None, "arguments_error": _why(text), "arguments_text": text}
        if too_deep(value):
            return {"arguments": None, "arguments_error": _TOO_DEEP, "arguments_text": text}
        return {"arguments": value}

    def _rename(self, name: str | None) -> None:
        if name is None or name == self.name:
            return
        if self.name is None or name.startswith(self.name):
            self.name = name
        elif not self.arguments and not self.given_whole:
            self.name += name

    def _text(self) -> str:
        return self.arguments.text()

    def _is_whole(self) -> bool:
        return self.given_whole or self.custom or self.arguments.are_whole


class ToolCallAccumulator:
    """The tool calls of one choice, in the order in which they began."""

    def __init__(self, budget: Budget, clean: Callable[[Any], Any]) -> None:
        """`clean` takes our keys out of what is not the model's own text."""
        self._budget = budget
        self._clean = clean
        self.all: list[ToolCall] = []
        #: The call that each of the server's indexes means now.
        self._by_index: dict[int, ToolCall] = {}
        self._chunk = 0

    def add(self, fragments: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Adds a chunk's fragments to their calls, as many as fit. Returns the fields of a `tool_call_delta` for each.

        Raises ModelError.
        """
        self._chunk += 1
        added = []
        for fragment in fragments:
            if (fields := self._add(fragment)) is None:
                break
            added.append(fields)
        return added

    def has(self, fragment: dict[str, Any]) -> bool:
        """Whether a whole call, which stands in a message beside the fragments, is one of these."""
        call_id, name = as_text(fragment.get("id")), as_text(_function(fragment)[0].get("name"))
        return any(call.id == call_id if call_id and call.id else call.name == name for call in self.all)

    def _add(self, fragment: dict[str, Any]) -> dict[str, Any] | None:
        """The fields of its event; None if it does not fit."""
        function, custom = _function(fragment)
        index, call_id = as_index(fragment.get("index"), "tool_calls.index"), as_text(fragment.get("id"))
        call_id = self._clean(call_id)
        call = self._find(index, call_id, function, "type" in fragment)
        if call is None:
            if not self._budget.call():
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
        rest = self._clean(_rest(fragment, function))
        # Each event names its call anew.
        size = len(text) + len(call.id or "") + len(call.name or "") + (size_of(rest) if rest else 0)
        if not self._budget.fragment(size):
            return None
        if function.get("name"):
            call.named_in = self._chunk
        fields = {"index": call.index, "id": call.id, "name": call.name, "arguments": text}
        if call.custom:
            fields["type"] = "custom"
        if rest:
            call.extra |= rest
            fields |= rest
        return fields

    def _find(self, index: int | None, call_id: str | None, function: dict[str, Any], typed: bool) -> ToolCall | None:
        """The call that a fragment belongs to; None for a call that begins with it."""
        name, text = as_text(function.get("name")), as_text(function.get("arguments") or function.get("input")) or ""
        last = self.all[-1] if self.all else None
        found = last if index is None else self._by_index.get(index)
        if call_id is not None:
            for call in self.all:
                if call.id == call_id and not (found is None and call.differs(name, text)):
                    return call
        if found is None:
            # A nameless one of a number that no other began goes on with the last, unless that is whole.
            return last if last and not (name or call_id or last.is_followed_by(text)) else None
        another_id = call_id is not None and found.id is not None
        if name is None or found.name is None:
            goes_on = not (another_id and found.is_followed_by(text))
        elif name != found.name:
            nothing_yet = index is not None and not (another_id or found.arguments or found.given_whole)
            goes_on = nothing_yet and (name.startswith(found.name) or not (call_id or typed))
        else:
            goes_on = self._says_its_name_again(found, text, another_id, index is not None)
        return found if goes_on else None

    def _says_its_name_again(self, call: ToolCall, text: str, another_id: bool, numbered: bool) -> bool:
        """Whether a fragment with the name of a call goes on with it; otherwise the same function is called again."""
        begins = call.is_followed_by(text or "{")
        if call.named_in == self._chunk and (begins or not call.arguments or not text):
            return False
        if another_id:
            return numbered and not begins
        return not (text and begins)


def _function(fragment: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """What a fragment says of the function or of the custom tool, and whether it is the latter."""
    function = as_dict(fragment.get("function"), "function")
    custom = as_dict(fragment.get("custom"), "custom")
    if custom and not function:
        return custom, True
    if not function and fragment.keys() & {"name", "arguments"}:
        # Some servers have no object around them.
        function = {name: fragment[name] for name in ("name", "arguments") if name in fragment}
    return function, False


def _rest(fragment: dict[str, Any], function: dict[str, Any]) -> dict[str, Any]:
    """What of a fragment is not read."""
    rest = {
        name: value for name, value in fragment.items() if name not in _READ | _OURS and value not in (None, "", [], {})
    }
    inner = {name: value for name, value in function.items() if name not in _READ and value not in (None, "", [], {})}
    if inner:
        rest["function"] = inner
    return rest


def _why(text: str) -> str:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return str(error)
    return "not JSON"
