"""Error replies of Redis as redis-py's exceptions."""

from __future__ import annotations

from typing import Final

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    ExecAbortError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

#: By the first word of a reply. The exception's text is what comes after it.
_KINDS: Final[dict[str, type[RedisError]]] = {
    "EXECABORT": ExecAbortError,
    "LOADING": BusyLoadingError,
    "NOAUTH": AuthenticationError,
    "NOPERM": NoPermissionError,
    "NOSCRIPT": NoScriptError,
    "OOM": OutOfMemoryError,
    "READONLY": ReadOnlyError,
    "WRONGPASS": AuthenticationError,
}
_TOO_MANY_CLIENTS: Final = "max number of clients reached"


def error_of(reply: str) -> RedisError:
    """Returns the exception for the text of an error reply."""
    code, _, text = reply.partition(" ")
    if code == "ERR":
        return ConnectionError(text) if text == _TOO_MANY_CLIENTS else ResponseError(text)
    kind = _KINDS.get(code)
    return ResponseError(reply) if kind is None else kind(text)
