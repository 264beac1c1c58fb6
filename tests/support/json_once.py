"""JSON in which no object has a key twice: parsers do not agree on which of the two counts."""

from __future__ import annotations

import json
from typing import Any


def loads_once(text: str | bytes) -> Any:
    """Returns the value. Raises AssertionError for a key that an object has twice."""
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    assert len(found) == len(pairs), [name for name, _ in pairs]
    return found
