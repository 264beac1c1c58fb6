"""What both forms of OpenAI's chat completions share: how an event's fields stand in a choice (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

#: The field of reasoning's text, unless the event names another one.
REASONING_FIELD: Final = "reasoning_content"
#: Top-level fields that a model's own field must not replace.
_OURS: Final = frozenset({"id", "object", "created", "choices", "usage", "error"})


class Extra(NamedTuple):
    """A field of the model's that no event type names. `choice` is None for one of the whole answer. `in_delta`: it
    stands in the delta, else beside it."""

    choice: int | None
    in_delta: bool
    name: str
    value: Any


def extras_of(fields: dict[str, Any]) -> Iterator[Extra]:
    """Yields the fields in an event's `extra`, at their places in the chunk."""
    for path, value in (fields.get("extra") or {}).items():
        head, _, rest = path.partition(".")
        index, _, name = rest.partition(".")
        if head == "choices" and index.isdigit() and len(index) < 9 and name:
            in_delta = name.startswith("delta.")
            yield Extra(int(index), in_delta, name.removeprefix("delta."), value)
        elif path not in _OURS:
            yield Extra(None, False, path, value)


def call_arguments(fields: dict[str, Any]) -> str:
    """Returns the arguments of a whole call as text; its input, for a custom tool."""
    if fields.get("tool_type") == "custom":
        return str(fields.get("input") or "")
    if fields.get("arguments") is None:
        return str(fields.get("arguments_text") or "")
    return dumps(fields["arguments"])


def default_finish_reason(fields: dict[str, Any]) -> str:
    """Returns the finish reason for an answer whose model gave none."""
    return "tool_calls" if fields.get("tool_calls") else "function_call" if fields.get("function_call") else "stop"


def dumps(value: Any) -> str:
    """Returns a value as JSON text."""
    return orjson.dumps(value).decode()
