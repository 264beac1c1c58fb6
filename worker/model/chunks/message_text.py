"""Reads text and reasoning out of a delta or a message, in each form that servers use (pure)."""

from __future__ import annotations

from typing import Any, Final

#: The names that servers give to the text of reasoning, in order of preference.
REASONING_FIELDS: Final = ("reasoning_content", "reasoning")
#: Fields whose parts may hold more than text.
FIELDS_WITH_PARTS: Final = ("content", "reasoning_details")
#: Fields of a part that are read. A part with other fields is also kept in `extra`.
_PART_FIELDS: Final = frozenset({"type", "text", "thinking", "summary", "index", "format", "id"})


def plain_text(value: Any) -> str:
    """Returns the text of a string, an object or a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        texts = (part.get("text") for part in value if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))
    if isinstance(value, dict):
        text = value.get("text") or value.get("content")
        return text if isinstance(text, str) else ""
    return ""


def reasoning_field(delta: dict[str, Any]) -> str:
    """Returns the name of the field that `reasoning_text` reads; the first of REASONING_FIELDS for a list of parts."""
    return next((name for name in REASONING_FIELDS if plain_text(delta.get(name))), REASONING_FIELDS[0])


def reasoning_text(delta: dict[str, Any]) -> str:
    """Returns the text of the reasoning; "" if there is none."""
    for name in REASONING_FIELDS:
        if text := plain_text(delta.get(name)):
            return text
    details, content = delta.get("reasoning_details"), delta.get("content")
    if isinstance(details, list):
        parts = (part for part in details if isinstance(part, dict))
        return "".join(plain_text(part.get("text")) or plain_text(part.get("summary")) for part in parts)
    if isinstance(content, list):
        # Mistral's form.
        return "".join(plain_text(part.get("thinking")) for part in content if isinstance(part, dict))
    return ""


def rich_parts(value: Any) -> list[Any]:
    """Returns the parts that hold more than text, such as pictures and signatures."""
    parts = value if isinstance(value, list) else [value] if isinstance(value, dict) else []
    return [part for part in parts if not isinstance(part, dict) or part.keys() - _PART_FIELDS]
