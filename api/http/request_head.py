"""What is wrong with the head of a request, beyond what the parser refuses."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

#: Headers whose meaning would depend on which of two is read.
_ONCE: Final = frozenset({b"host", b"idempotency-key", b"last-event-id", b"content-type"})
_CODING: Final = b"transfer-encoding"
#: Bytes of a head: its target, names and values, and four for each header.
_LONGEST: Final = 65_536


class Fault(NamedTuple):
    status: HTTPStatus
    why: str


TOO_LONG: Final = Fault(HTTPStatus.BAD_REQUEST, "The head of the request is too long.")


def fault_of(url: bytes, headers: Sequence[tuple[bytes, bytes]], http_version: str) -> Fault | None:
    """Why a request with this target and these headers, their names in lower case, is not answered."""
    if b"%2f" in url.partition(b"?")[0].lower():
        # It would be read as one that parts the path: an id's end would be the name of another call.
        return Fault(HTTPStatus.BAD_REQUEST, "The path has a slash that is escaped.")
    seen: set[bytes] = set()
    size = len(url) + 4 * len(headers)
    for name, value in headers:
        size += len(name) + len(value)
        if name in _ONCE:
            if name in seen:
                return Fault(HTTPStatus.BAD_REQUEST, f"The request has several {name.decode().title()}.")
            seen.add(name)
        elif name == _CODING:
            if name in seen or value.strip().lower() != b"chunked":
                return Fault(HTTPStatus.NOT_IMPLEMENTED, "The only transfer coding is chunked.")
            seen.add(name)
    if size > _LONGEST:
        return TOO_LONG
    if b"host" not in seen and http_version != "1.0":
        return Fault(HTTPStatus.BAD_REQUEST, "The request has no Host.")
    return None
