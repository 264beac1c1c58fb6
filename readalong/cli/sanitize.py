"""Foreign text and JSON, safe for a terminal."""

from __future__ import annotations

import orjson

from readalong.core.sanitize import escaped_json, harmless


def one_line(text: str, length: int = 300) -> str:
    """Returns `text` as one line of at most `length` characters, without control characters."""
    line = harmless(" ".join(text.split()))
    return line if len(line) <= length else line[: length - 1] + "…"


def harmless_json(value: object, *, indent: bool = False) -> str:
    """Returns `value` as JSON whose control characters are `\\u` escapes, also those that JSON allows raw."""
    return escaped_json(orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None).decode())
