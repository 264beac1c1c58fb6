"""Reads a request's body within its limit, as JSON."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request

from readalong.errors import InvalidRequest


async def read_json(request: Request, max_bytes: int) -> tuple[bytes, dict[str, Any]]:
    """The body as it came, and parsed. Raises InvalidRequest; ClientDisconnect if the client goes away."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        # A body without a length, or with a false one, must not fill our memory either.
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    raw = bytes(body)
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The body is not UTF-8: byte {error.start}.", code="invalid_encoding") from None
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {error}.", code="invalid_json") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return raw, value


def _too_large(max_bytes: int) -> InvalidRequest:
    return InvalidRequest(f"The body exceeds {max_bytes} bytes.", code="body_too_large")
