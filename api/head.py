"""What is wrong with the head of a request, beyond what the parser refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

#: Headers whose meaning would depend on which of two is read.
_ONCE: Final = (b"host", b"idempotency-key", b"last-event-id", b"content-type")


class Fault(NamedTuple):
    status: HTTPStatus
    why: str


def fault_of(url: bytes, headers: Sequence[tuple[bytes, bytes]], http_version: str) -> Fault | None:
    """Why a request with this target and these headers, their names in lower case, is not answered."""
    if b"%2f" in url.partition(b"?")[0].lower():
        # It would be read as one that parts the path: an id's end would be the name of another call.
        return Fault(HTTPStatus.BAD_REQUEST, "The path has a slash that is escaped.")
    count = Counter(name for name, _ in headers)
    for name in _ONCE:
        if count[name] > 1:
            return Fault(HTTPStatus.BAD_REQUEST, f"The request has several {name.decode().title()}.")
    if http_version != "1.0" and not count[b"host"]:
        return Fault(HTTPStatus.BAD_REQUEST, "The request has no Host.")
    if count[b"transfer-encoding"]:
        codings = b",".join(value for name, value in headers if name == b"transfer-encoding")
        if codings.strip().lower() != b"chunked":
            return Fault(HTTPStatus.NOT_IMPLEMENTED, "The only transfer coding is chunked.")
    return None
