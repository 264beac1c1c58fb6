"""Reads a request's body within its limit, as JSON."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final, TypeVar

import orjson
from pydantic_core import from_json
from starlette.requests import Request

from readalong.core.errors import InvalidRequest

#: `application/json` and `application/<anything>+json`, with or without parameters.
_JSON: Final = re.compile(r"application/(?:[\w.!#$&^-]+\+)?json\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_GZIP: Final = frozenset({"gzip", "x-gzip"})
#: Bytes unpacked in one turn of the loop: other clients hear nothing meanwhile.
_AT_ONCE: Final = 1_048_576
#: Bytes of a body from which on it is parsed and checked in a thread.
_LARGE: Final = 65_536
#: Values of a body, counted by what separates and opens them, be it in a text: a comma is about one token of a model,
#: and none reads so many. A small body may be a gigabyte when it is read.
_MOST_VALUES: Final = 500_000
#: Lists and objects inside one another. A tool's schema has a dozen.
_DEEPEST: Final = 128

_Given = TypeVar("_Given")
_Found = TypeVar("_Found")


async def read_json(request: Request, max_bytes: int) -> tuple[bytes, dict[str, Any]]:
    """The body as it came, unpacked if need be, and parsed.

    Raises InvalidRequest; ClientDisconnect if the client goes away.
    """
    _check_type(request)
    packed = _is_packed(request)
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    async with aclosing(_unpacked(request, max_bytes) if packed else request.stream()) as pieces:
        async for piece in pieces:
            body += piece
            # A body without a length, or with a false one, must not fill our memory either.
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
    raw = bytes(body)
    value = await off_loop(len(raw), _parse, raw)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.", field="body")
    return raw, value


async def off_loop(size: int, work: Callable[[_Given], _Found], given: _Given) -> _Found:
    """What the work on a body of this size answers or raises; of a large one the others' turns go on meanwhile."""
    return await asyncio.to_thread(work, given) if size > _LARGE else work(given)


def unwritable(body: dict[str, Any]) -> InvalidRequest:
    """Why orjson cannot write a body that was read: a number that JSON readers would change, or its depth."""
    field = _large_integer(body, ())
    if field is None:
        return _too_deep()
    # Most readers make a float of it, which is another number; two bodies would be one to an Idempotency-Key.
    return InvalidRequest(f"{field}: The integer does not fit into 64 bits; send it as a string.", field=field)


def _check_type(request: Request) -> None:
    """Any page may send a form or plain text to any site; for JSON its browser asks first. Raises InvalidRequest."""
    kind = request.headers.get("content-type", "")
    if not kind.strip():
        if "origin" not in request.headers:
            return
        raise InvalidRequest("A browser's request needs Content-Type: application/json.", code="unsupported_media_type")
    if not _JSON.fullmatch(kind.strip()):
        raise InvalidRequest("The body must be application/json.", code="unsupported_media_type")


def _is_packed(request: Request) -> bool:
    codings = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    asked = [coding for each in codings if (coding := each.strip()) not in ("", "identity")]
    if not asked:
        return False
    if len(asked) > 1 or asked[0] not in _GZIP:
        raise InvalidRequest("The body may be gzip or plain.", code="unsupported_encoding")
    return True


async def _unpacked(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The pieces of a gzip body, each no larger than what one turn of the loop unpacks. Raises InvalidRequest."""
    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    came = 0
    try:
        async for piece in request.stream():
            came += len(piece)
            if came > max_bytes:
                raise _too_large(max_bytes)
            rest = piece
            while rest:
                if unpack.eof:  # a file of several members (RFC 1952, section 2.2)
                    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
                yield unpack.decompress(rest, _AT_ONCE)
                rest = unpack.unconsumed_tail or unpack.unused_data
                await asyncio.sleep(0)
    except zlib.error as error:
        raise InvalidRequest(f"The body is not gzip: {error}.", code="invalid_encoding") from None
    if not unpack.eof:
        raise InvalidRequest("The body is not gzip: it breaks off.", code="invalid_encoding")


def _parse(raw: bytes) -> Any:
    nests = raw.count(b"[") + raw.count(b"{")
    if raw.count(b",") + nests > _MOST_VALUES:
        raise InvalidRequest(f"The body has more than {_MOST_VALUES} commas and opening brackets.", field="body")
    try:
        # Refuses what is no number of 64 bits, such as 1e400.
        orjson.loads(raw)
        # Reads integers of any length as they are; orjson makes floats of the longest.
        value = from_json(raw)
        if nests > _DEEPEST and _is_deep(value):
            raise _too_deep()
        return value
    except ValueError as error:
        try:
            raw.decode()
        except UnicodeDecodeError as wrong:
            raise InvalidRequest(f"The body is not UTF-8: byte {wrong.start}.", code="invalid_encoding") from None
        raise InvalidRequest(f"The body is not JSON: {error}.", code="invalid_json") from None


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"The body is nested too deeply; {_DEEPEST} levels may be sent.", code="invalid_json")


def _large_integer(value: Any, path: tuple[str, ...]) -> str | None:
    """The path of the first integer that has more than 64 bits; None if there is none."""
    if isinstance(value, int):
        return ".".join(path) if not -(2**63) <= value < 2**64 else None
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next((found for name, each in pairs if (found := _large_integer(each, (*path, str(name))))), None)


def _too_large(max_bytes: int) -> InvalidRequest:
    return InvalidRequest(f"The body exceeds {max_bytes} bytes.", code="body_too_large")
