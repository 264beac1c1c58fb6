"""What a server says of its failure, in whatever shape it says it (pure)."""

from __future__ import annotations

from typing import Any, Final

import orjson

from readalong.core.errors import ModelError
from readalong.worker.model.redaction import MOST_READ

#: Where servers put the words, in order of preference.
_WORDS: Final = (
    "error",
    "errors",
    "detail",
    "message",
    "msg",
    "error_message",
    "errorMessage",
    "error_msg",
    "status_msg",
    "base_resp",
    "text",
    "code",
    "type",
)
_CODES: Final = ("code", "status", "status_code", "http_code", "error_code", "errorCode", "http_status")
#: Statuses of a server, or of what stands before it, that is overloaded, restarts or cannot be reached.
AWAY: Final = frozenset({429, 502, 503, 504, 521, 522, 523, 529})
#: Numbers of an error that may be the worker's fault, its key's or its account's: any job's, then.
_REFUSES: Final = frozenset({401, 402})
#: Fields that only a failure has, where no choice stands beside them.
_OF_FAILURES: Final = ("detail", "errors", "error_msg", "error_message", "errorMessage")
#: Codes that some servers send with every chunk.
_FINE: Final = frozenset({"0", "200", "ok", "success", "succeeded"})
#: How far into a reason's objects and lists its words are looked for.
_DEEPEST: Final = 6
#: Statuses of the client's kind after which another try may help.
_PASSING: Final = frozenset({408, 409, 425, 429})


def reason(value: Any, deep: int = 0) -> str | None:
    """The server's own words in an object, a list or a text; None where there are none."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool) or deep == _DEEPEST:
        return None
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "; ".join(found for one in value if (found := reason(one, deep + 1))) or None
    if isinstance(value, dict):
        for name in _WORDS:
            if found := reason(value.get(name), deep + 1):
                # FastAPI names the field that is wrong.
                where = value.get("loc")
                return f"{'.'.join(map(str, where))}: {found}" if isinstance(where, list) and where else found
    return None


def failure_in(chunk: dict[str, Any]) -> Any:
    """What of a chunk says that the call has failed; None if nothing does."""
    # vLLM's older form has no `error` around it.
    if chunk.get("object") == "error" or chunk.get("type") == "error":
        return chunk
    if error := chunk.get("error"):
        if isinstance(error, bool | int | float):
            return chunk
        # Its number may stand beside it.
        return error if isinstance(error, dict) and _number(error) else {**_numbers(chunk), "error": error}
    base = chunk.get("base_resp")
    if isinstance(base, dict) and not _is_fine(base.get("status_code")):
        return {"message": reason(base.get("status_msg")) or base}
    return chunk if not chunk.get("choices") and _is_failure(chunk) else None


def reported(error: Any) -> ModelError:
    """The error that a server put into its answer. A number in it decides whether another try may help."""
    words = (reason(error) or orjson.dumps(error, default=str).decode())[:MOST_READ]
    status = _number(error)
    may_help = status is None or not 400 <= status < 500 or status in _PASSING
    used_up = status == 429 and "insufficient_quota" in str(error)
    # Its words are shortened where they are told, once our key is out of them.
    return ModelError(
        "model_error",
        f"The model reported an error: {words}",
        retryable=may_help,
        status=status if status is not None and 400 <= status < 600 else 0,
        away=status in AWAY and not used_up,
        refuses=status in _REFUSES or used_up,
    )


def _is_failure(chunk: dict[str, Any]) -> bool:
    """Whether a chunk without a choice is another vendor's error."""
    if chunk.get("success") is False or any(chunk.get(name) for name in _OF_FAILURES):
        return True
    if not any(isinstance(chunk.get(name), str) and chunk[name].strip() for name in ("message", "msg")):
        return False
    codes = [chunk[name] for name in _CODES if chunk.get(name) is not None]
    if codes:
        return not all(map(_is_fine, codes))
    return not chunk.keys() & {"usage", "id", "object", "model"}


def _is_fine(code: Any) -> bool:
    return code is None or str(code).lower() in _FINE


def _numbers(chunk: dict[str, Any]) -> dict[str, Any]:
    return {name: chunk[name] for name in _CODES if name in chunk}


def _number(error: Any, deep: int = 0) -> int | None:
    """The first whole number among an error's codes, which some send as text."""
    if isinstance(error, list) and error:
        error = error[0]
    if not isinstance(error, dict) or deep == _DEEPEST:
        return None
    for name in _CODES:
        code = error.get(name)
        if isinstance(code, int) and not isinstance(code, bool):
            return code
        if isinstance(code, str) and code.isdecimal() and len(code) < 10:
            return int(code)
    return _number(error.get("error"), deep + 1)
