"""Refuses heads of requests that the parser accepts, but that two programs could read in two ways."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

#: Headers whose duplicates would leave open which of them counts.
_SINGLE: Final = frozenset({b"host", b"idempotency-key", b"last-event-id", b"content-type"})
#: Behind it a path has the name of a model and nothing else. The OpenAI SDKs escape the slash of `org/model`.
_MODELS: Final = b"/v1/models/"
_TRANSFER_ENCODING: Final = b"transfer-encoding"
#: Bytes of a head: its target, names and values, and four for each header.
_MAX_LENGTH: Final = 65_536


class HeadError(NamedTuple):
    """The response to a refused head."""

    status: HTTPStatus
    detail: str


HEAD_TOO_LONG: Final = HeadError(HTTPStatus.BAD_REQUEST, "The request head is too long.")


def check_head(url: bytes, headers: Sequence[tuple[bytes, bytes]], http_version: str) -> HeadError | None:
    """Returns why a request with this target and these headers is refused; None if it is not.

    The names of headers are in lower case.
    """
    before, slash, _ = url.partition(b"?")[0].lower().partition(b"%2f")
    if slash and _MODELS not in before:
        # Decoded, it would separate segments: the end of an id could name another call.
        return HeadError(HTTPStatus.BAD_REQUEST, "The path contains an escaped slash (%2F).")
    seen: set[bytes] = set()
    size = len(url) + 4 * len(headers)
    for name, value in headers:
        size += len(name) + len(value)
        if name in _SINGLE:
            if name in seen:
                return HeadError(HTTPStatus.BAD_REQUEST, f"Duplicate header {name.decode().title()}.")
            seen.add(name)
        elif name == _TRANSFER_ENCODING:
            if name in seen or value.strip().lower() != b"chunked":
                return HeadError(HTTPStatus.NOT_IMPLEMENTED, "The only supported transfer coding is chunked.")
            seen.add(name)
    if size > _MAX_LENGTH:
        return HEAD_TOO_LONG
    if b"host" not in seen and http_version != "1.0":
        return HeadError(HTTPStatus.BAD_REQUEST, "The Host header is missing.")
    return None
