"""Reads a server's error in each shape that servers use (pure)."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from readalong.core.errors import ModelError
from readalong.worker.model.redaction import MAX_READ

#: Fields that hold the message, in order of preference.
_MESSAGE_FIELDS: Final = (
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
_CODE_FIELDS: Final = ("code", "status", "status_code", "http_code", "error_code", "errorCode", "http_status")
#: Statuses of a server or gateway that is overloaded, restarts or cannot be reached.
AWAY_STATUSES: Final = frozenset({429, 502, 503, 504, 521, 522, 523, 529})
#: Numbers of an error that may be the fault of the worker's key or account, and so concern all jobs.
_WORKER_FAULTS: Final = frozenset({401, 402})
#: Fields that only an error has, unless a choice stands beside them.
_ERROR_FIELDS: Final = ("detail", "errors", "error_msg", "error_message", "errorMessage")
#: Codes of success, which some servers send with every chunk.
_SUCCESS_CODES: Final = frozenset({"0", "200", "ok", "success", "succeeded"})
#: Levels of nesting that are searched for a message.
_MAX_DEPTH: Final = 6
#: Characters of a parameter's path, or of an error's name.
_MAX_NAME: Final = 200
#: Client errors (4xx) that are the request's fault.
_REQUEST_FAULTS: Final = frozenset({400, 413, 422})
#: Client errors (4xx) after which another try may help.
_RETRYABLE: Final = frozenset({408, 409, 425, 429})


class Blame(NamedTuple):
    """What a server finds wrong: the parameter, and its own name of the error."""

    param: str | None = None
    model_code: str | None = None


def blame_of(error: Any) -> Blame:
    """Returns what OpenAI's form of an error names, with or without an object `error` around it."""
    inner = error.get("error") if isinstance(error, dict) else None
    told = inner if isinstance(inner, dict) else error
    return Blame(_name(told.get("param")), _name(told.get("code"))) if isinstance(told, dict) else Blame()


def server_message(value: Any, depth: int = 0) -> str | None:
    """Returns the server's own message in an object, a list or a text; None if there is none."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool) or depth == _MAX_DEPTH:
        return None
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "; ".join(found for one in value if (found := server_message(one, depth + 1))) or None
    if isinstance(value, dict):
        for name in _MESSAGE_FIELDS:
            if found := server_message(value.get(name), depth + 1):
                # FastAPI names the field that is wrong.
                where = value.get("loc")
                return f"{'.'.join(map(str, where))}: {found}" if isinstance(where, list) and where else found
    return None


def find_error(chunk: dict[str, Any]) -> Any:
    """Returns the error in a chunk; None if there is none."""
    # vLLM's older form has no `error` around it.
    if chunk.get("object") == "error" or chunk.get("type") == "error":
        return chunk
    if error := chunk.get("error"):
        if isinstance(error, bool | int | float):
            return chunk
        # The number may stand beside `error`.
        return error if isinstance(error, dict) and _number(error) else {**_numbers(chunk), "error": error}
    base = chunk.get("base_resp")
    if isinstance(base, dict) and not _is_success(base.get("status_code")):
        return {"message": server_message(base.get("status_msg")) or base}
    return chunk if not chunk.get("choices") and _is_error(chunk) else None


def reported_error(error: Any) -> ModelError:
    """Returns the error that a server put into its answer. A number in it decides whether another try may help."""
    message = (server_message(error) or orjson.dumps(error, default=str).decode())[:MAX_READ]
    status = _number(error)
    retryable = status is None or not 400 <= status < 500 or status in _RETRYABLE
    quota_exhausted = status == 429 and "insufficient_quota" in str(error)
    # Shortened where it is shown, after redaction.
    param, model_code = blame_of(error)
    return ModelError(
        "model_bad_request" if status in _REQUEST_FAULTS else "model_error",
        f"The model reported an error: {message}",
        retryable=retryable,
        status=status if status is not None and 400 <= status < 600 else 0,
        away=status in AWAY_STATUSES and not quota_exhausted,
        refuses=status in _WORKER_FAULTS or quota_exhausted,
        param=param,
        model_code=model_code,
    )


def _is_error(chunk: dict[str, Any]) -> bool:
    """Returns whether a chunk without a choice is another vendor's error."""
    if chunk.get("success") is False or any(chunk.get(name) for name in _ERROR_FIELDS):
        return True
    if not any(isinstance(chunk.get(name), str) and chunk[name].strip() for name in ("message", "msg")):
        return False
    codes = [chunk[name] for name in _CODE_FIELDS if chunk.get(name) is not None]
    if codes:
        return not all(map(_is_success, codes))
    return not chunk.keys() & {"usage", "id", "object", "model"}


def _name(value: Any) -> str | None:
    """Returns a text that names something; None for another value, and for a status that is written as text."""
    named = isinstance(value, str) and value and not value.isdecimal() and len(value) <= _MAX_NAME
    return value if named else None


def _is_success(code: Any) -> bool:
    return code is None or str(code).lower() in _SUCCESS_CODES


def _numbers(chunk: dict[str, Any]) -> dict[str, Any]:
    return {name: chunk[name] for name in _CODE_FIELDS if name in chunk}


def _number(error: Any, depth: int = 0) -> int | None:
    """Returns the first integer among an error's codes, which some servers send as text."""
    if isinstance(error, list) and error:
        error = error[0]
    if not isinstance(error, dict) or depth == _MAX_DEPTH:
        return None
    for name in _CODE_FIELDS:
        code = error.get(name)
        if isinstance(code, int) and not isinstance(code, bool):
            return code
        if isinstance(code, str) and code.isdecimal() and len(code) < 10:
            return int(code)
    return _number(error.get("error"), depth + 1)
