"""Text and JSON of others, as a terminal may be shown them."""

from __future__ import annotations

import orjson

from readalong.core.sanitize import escaped_json, harmless


def one_line(text: str, length: int = 300) -> str:
    """`text` on one line, harmless, and at most `length` characters long."""
    line = harmless(" ".join(text.split()))
    return line if len(line) <= length else line[: length - 1] + "…"


def harmless_json(value: object, *, indent: bool = False) -> str:
    """`value` as JSON that is harmless too: controls are `\\u` escapes, also those that JSON allows as they are."""
    return escaped_json(orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None).decode())
