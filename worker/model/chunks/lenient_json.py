"""Reads values out of a model's JSON leniently: null counts as empty, nonsense raises ModelError (pure)."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

from readalong.core.errors import ModelError
from readalong.worker.model.limits import MAX_VALUES, AnswerTooLarge, has_too_many_values
from readalong.worker.model.redaction import MAX_READ

#: Levels of nesting that an event and its readers put around a value.
_LEVELS_AROUND: Final = 16
_MAX_INDEX: Final = 999_999
#: Largest invalid JSON that Python's parser may still read, in bytes: it takes many times the size in memory.
_MAX_LENIENT_BYTES: Final = 4_194_304


def malformed_chunk(what: str, data: bytes = b"") -> ModelError:
    """Returns the error of a chunk that cannot be understood. `what` follows "The model sent a chunk"."""
    # Shortened where it is shown, after redaction.
    excerpt = f": {data[: 2 * MAX_READ].decode(errors='replace')}" if data.strip() else "."
    return ModelError("model_malformed", f"The model sent a chunk {what}{excerpt}", retryable=True)


def parse(data: bytes) -> list[dict[str, Any]]:
    """Returns the chunks of a message: one, or those of a list. Raises ModelError for anything else."""
    if len(data) > MAX_VALUES and has_too_many_values(data):
        raise AnswerTooLarge(f"{MAX_VALUES} values in one message")
    value = parse_leniently(data)
    chunks = value if isinstance(value, list) else [value]
    if not chunks or not all(isinstance(chunk, dict) for chunk in chunks):
        raise malformed_chunk("that is not a JSON object", data)
    # Counting is cheap, and fewer brackets cannot nest too deeply.
    if data.count(b"{") + data.count(b"[") > 200 and too_deep(value):
        raise malformed_chunk("that is nested too deeply")
    return chunks


def parse_leniently(data: bytes, *, nan: bool = True) -> Any:
    """Returns the value of JSON. Raises ModelError.

    Half a surrogate pair, which some servers send when they cut inside an emoji, becomes U+FFFD. `nan`: NaN and
    Infinity, which Python servers send as log probabilities, are null.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        if len(data) > _MAX_LENIENT_BYTES:
            raise malformed_chunk("that is not JSON", data) from None
    try:
        value = json.loads(data, parse_constant=_null) if nan else json.loads(data)
        text = json.dumps(value, ensure_ascii=False)
        return orjson.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        raise malformed_chunk("that is not JSON", data) from None


def _null(_: str) -> None:
    return None


def too_deep(value: Any) -> bool:
    """Returns whether a value is nested too deeply for an event: orjson reads 1024 levels, and writes 254."""
    for _ in range(_LEVELS_AROUND):
        value = [value]
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return True
    return False


def as_dict(value: Any, name: str) -> dict[str, Any]:
    """Returns an object. Null and other empty values are an empty object."""
    if not value:
        return {}
    if not isinstance(value, dict):
        raise malformed_chunk(f"whose `{name}` is not an object")
    return value


def as_dicts(value: Any, name: str, *, lone: bool = False) -> list[dict[str, Any]]:
    """Returns a list of objects, without the empty ones. `lone`: an object counts as a list of one."""
    if not value:
        return []
    if lone and isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise malformed_chunk(f"whose `{name}` is not a list")
    return [as_dict(item, name) for item in value if item]


def as_index(value: Any, name: str) -> int | None:
    """Returns a small integer, which some servers send as text; None for null."""
    if value is None:
        return None
    if isinstance(value, str) and value.isdecimal() and len(value) <= 6:
        return int(value)
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        index = int(value)
        if 0 <= index <= _MAX_INDEX:
            return index
    raise malformed_chunk(f"whose `{name}` is not an index")


def as_text(value: Any) -> str | None:
    """Returns text as it is, None for null and "", the JSON of any other value."""
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else orjson.dumps(value).decode()
