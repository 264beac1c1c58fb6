"""Reads a request's body as JSON, within limits."""

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

from readalong.api.auth.origins import SAME_SITE
from readalong.core.errors import InvalidRequest

#: `application/json` and `application/<anything>+json`, with or without parameters.
_JSON: Final = re.compile(r"application/(?:[\w.!#$&^-]+\+)?json\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_GZIP: Final = frozenset({"gzip", "x-gzip"})
#: Bytes unpacked in one turn of the event loop: other clients wait meanwhile.
_SLICE: Final = 1_048_576
#: Bytes above which a body is parsed and checked in a thread.
_LARGE: Final = 65_536
#: Commas and opening brackets, strings included, as a bound on the number of values: a small body may take a gigabyte
#: when it is parsed. A comma is about one token, and no model reads so many.
_MAX_SEPARATORS: Final = 500_000
#: Levels of lists and objects. A tool's schema has a dozen.
_MAX_DEPTH: Final = 128

_Input = TypeVar("_Input")
_Result = TypeVar("_Result")


async def read_json(request: Request, max_bytes: int) -> tuple[bytes, dict[str, Any]]:
    """Returns the body's bytes, unpacked, and the parsed object.

    Raises InvalidRequest, and ClientDisconnect if the client leaves.
    """
    _check_type(request)
    return await _read(request, max_bytes)


async def read_untyped_json(request: Request, max_bytes: int) -> tuple[bytes, dict[str, Any]]:
    """Returns and raises as `read_json`, of a body that may also be of no type or plain text by its type. An empty body
    is {}.

    For clients that set no type, as the AI SDK's WorkflowChatTransport, for which `fetch` then says text/plain. A
    foreign page may send such a body without asking, but not without an Origin, which `check_origin` refuses.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("", "text/plain"):
        _check_type(request)
    elif "origin" not in request.headers and request.headers.get("sec-fetch-site", "none") not in SAME_SITE:
        raise InvalidRequest("Content-Type must be application/json.", code="unsupported_media_type")
    return await _read(request, max_bytes, empty={})


async def _read(request: Request, max_bytes: int, empty: dict[str, Any] | None = None) -> tuple[bytes, dict[str, Any]]:
    """`empty`: what an empty body is; None: an error."""
    packed = _is_packed(request)
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise _too_large(max_bytes)
    body = bytearray()
    async with aclosing(_unpacked(request, max_bytes) if packed else request.stream()) as pieces:
        async for piece in pieces:
            body += piece
            # A body without a length, or with a false one, would fill the memory.
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
    raw = bytes(body)
    if not raw and empty is not None:
        return raw, empty
    value = await off_loop(len(raw), _parse, raw)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.", field="body")
    return raw, value


async def off_loop(size: int, work: Callable[[_Input], _Result], argument: _Input) -> _Result:
    """Returns `work(argument)`; for a large body the work runs in a thread, so that other clients do not wait."""
    return await asyncio.to_thread(work, argument) if size > _LARGE else work(argument)


def unencodable(body: dict[str, Any]) -> InvalidRequest:
    """Returns why orjson cannot encode a parsed body: a large integer, or its depth."""
    field = _large_integer(body, ())
    if field is None:
        return _too_deep()
    # Most readers would round it to a float, and an Idempotency-Key would treat two different bodies as one.
    return InvalidRequest(f"{field}: The integer does not fit into 64 bits; send it as a string.", field=field)


def _check_type(request: Request) -> None:
    """Raises InvalidRequest. A page may send a form or plain text to any site; for JSON its browser asks first."""
    kind = request.headers.get("content-type", "")
    if not kind.strip():
        if "origin" not in request.headers:
            return
        raise InvalidRequest("With an Origin, Content-Type must be application/json.", code="unsupported_media_type")
    if not _JSON.fullmatch(kind.strip()):
        raise InvalidRequest("Content-Type must be application/json.", code="unsupported_media_type")


def _is_packed(request: Request) -> bool:
    codings = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    asked = [coding for each in codings if (coding := each.strip()) not in ("", "identity")]
    if not asked:
        return False
    if len(asked) > 1 or asked[0] not in _GZIP:
        raise InvalidRequest("Content-Encoding must be gzip or identity.", code="unsupported_encoding")
    return True


async def _unpacked(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yields the body of a gzip stream, at most _SLICE bytes in one turn of the loop. Raises InvalidRequest."""
    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    received = 0
    try:
        async for piece in request.stream():
            received += len(piece)
            if received > max_bytes:
                raise _too_large(max_bytes)
            rest = piece
            while rest:
                if unpack.eof:  # the next member (RFC 1952, section 2.2)
                    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
                yield unpack.decompress(rest, _SLICE)
                rest = unpack.unconsumed_tail or unpack.unused_data
                await asyncio.sleep(0)
    except zlib.error as error:
        raise InvalidRequest(f"The body is not valid gzip: {error}.", code="invalid_encoding") from None
    if not unpack.eof:
        raise InvalidRequest("The body is not valid gzip: it is incomplete.", code="invalid_encoding")


def _parse(raw: bytes) -> Any:
    brackets = raw.count(b"[") + raw.count(b"{")
    if raw.count(b",") + brackets > _MAX_SEPARATORS:
        raise InvalidRequest(f"The body has more than {_MAX_SEPARATORS:,} commas and opening brackets.", field="body")
    try:
        # orjson refuses numbers beyond 64 bits, such as 1e400.
        orjson.loads(raw)
        # pydantic keeps integers of any length; orjson rounds the longest to floats.
        value = from_json(raw)
        if brackets > _MAX_DEPTH and _is_deep(value):
            raise _too_deep()
        return value
    except ValueError as error:
        try:
            raw.decode()
        except UnicodeDecodeError as wrong:
            raise InvalidRequest(
                f"The body is not valid UTF-8 at byte {wrong.start}.", code="invalid_encoding"
            ) from None
        raise InvalidRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH):
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
    return InvalidRequest(f"The body is nested too deeply; the limit is {_MAX_DEPTH} levels.", code="invalid_json")


def _large_integer(value: Any, path: tuple[str, ...]) -> str | None:
    """Returns the path of the first integer of more than 64 bits; None if there is none."""
    if isinstance(value, int):
        return ".".join(path) if not -(2**63) <= value < 2**64 else None
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return next((found for name, each in pairs if (found := _large_integer(each, (*path, str(name))))), None)


def _too_large(max_bytes: int) -> InvalidRequest:
    return InvalidRequest(f"The body exceeds {max_bytes:,} bytes.", code="body_too_large")
