"""The value of a job's cancel flag."""

from __future__ import annotations

import orjson


def cancelled_by(flag: str) -> str:
    """Returns the `by` of a flag that the API set, or the whole text of a flag that a person set with redis-cli."""
    try:
        value = orjson.loads(flag)
    except orjson.JSONDecodeError:
        return flag
    by = value.get("by") if isinstance(value, dict) else None
    return by if isinstance(by, str) else flag
