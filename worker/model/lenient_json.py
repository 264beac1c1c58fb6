"""Values out of a model's JSON, read with patience: nulls are empty, what cannot be meant is a ModelError (pure)."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

from readalong.core.errors import ModelError
from readalong.worker.model.limits import MOST_VALUES, AnswerTooLarge, has_too_many_values
from readalong.worker.model.redaction import MOST_READ

#: Levels that an event, and whoever shows it, puts around a value.
_LEVELS_AROUND: Final = 16
_LARGEST_INDEX: Final = 999_999
#: Bytes of JSON that is no strict one which are read all the same: as Python reads it, it costs many times its size.
_MOST_LENIENT: Final = 4_194_304


def malformed(what: str, data: bytes = b"") -> ModelError:
    """The error of a chunk that cannot be understood; `what` follows "The model sent a chunk ", then what it said."""
    # Shortened where it is told, once our key is out of it.
    said = f": {data[: 2 * MOST_READ].decode(errors='replace')}" if data.strip() else "."
    return ModelError("model_malformed", f"The model sent a chunk {what}{said}", retryable=True)


def parse(data: bytes) -> list[dict[str, Any]]:
    """The chunks of a message: one, or those of a list. Raises ModelError for what is none, or no event could hold."""
    if len(data) > MOST_VALUES and has_too_many_values(data):
        raise AnswerTooLarge(f"{MOST_VALUES} values in one message")
    value = parse_leniently(data)
    chunks = value if isinstance(value, list) else [value]
    if not chunks or not all(isinstance(chunk, dict) for chunk in chunks):
        raise malformed("that is no JSON object", data)
    # Counting is cheap; only what has that many brackets can be so deep.
    if data.count(b"{") + data.count(b"[") > 200 and too_deep(value):
        raise malformed("that is nested too deeply")
    return chunks


def parse_leniently(data: bytes, *, nan: bool = True) -> Any:
    """JSON. Half a surrogate pair, which some servers send when they cut inside an emoji, becomes U+FFFD.

    `nan`: NaN and Infinity, which Python's servers send as log probabilities, are null. Raises ModelError.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        if len(data) > _MOST_LENIENT:
            raise malformed("that is no JSON", data) from None
    try:
        value = json.loads(data, parse_constant=_null) if nan else json.loads(data)
        text = json.dumps(value, ensure_ascii=False)
        return orjson.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        raise malformed("that is no JSON", data) from None


def _null(_: str) -> None:
    return None


def too_deep(value: Any) -> bool:
    """Whether an event could not hold the value: orjson reads 1024 levels, and writes 254."""
    for _ in range(_LEVELS_AROUND):
        value = [value]
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return True
    return False


def as_dict(value: Any, name: str) -> dict[str, Any]:
    """An object; null and other empty values are an empty one."""
    if not value:
        return {}
    if not isinstance(value, dict):
        raise malformed(f"whose `{name}` is no object")
    return value


def as_dicts(value: Any, name: str, *, lone: bool = False) -> list[dict[str, Any]]:
    """A list of objects, without the empty ones. `lone`: an object in its place is a list of one."""
    if not value:
        return []
    if lone and isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise malformed(f"whose `{name}` is no list")
    return [as_dict(item, name) for item in value if item]


def as_index(value: Any, name: str) -> int | None:
    """A small whole number, which some servers send as text; None for null."""
    if value is None:
        return None
    if isinstance(value, str) and value.isdecimal() and len(value) <= 6:
        return int(value)
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        index = int(value)
        if 0 <= index <= _LARGEST_INDEX:
            return index
    raise malformed(f"whose `{name}` is no index")


def as_text(value: Any) -> str | None:
    """Text as it is, null and "" as None, any other value as its JSON."""
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else orjson.dumps(value).decode()
