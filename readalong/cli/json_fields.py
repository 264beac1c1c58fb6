"""Fields of foreign JSON, whose types are not certain."""

from __future__ import annotations

from typing import Any

from readalong.cli.sanitize import one_line


def mapping(value: object) -> dict[str, Any]:
    """Returns `value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> list[dict[str, Any]]:
    """Returns the objects of a list; none if `value` is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def number(value: object) -> float | None:
    """Returns `value` if it is a number, else None."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def text(value: object, length: int = 300) -> str:
    """Returns `value` as one harmless line; an empty one for null."""
    return "" if value is None else one_line(str(value), length)
