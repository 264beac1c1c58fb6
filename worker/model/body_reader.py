"""The body of a model's answer as server-sent events, whatever its content type says: its first bytes tell.

A stream is given on as it comes. JSON in its place, one document or one a line, becomes messages of a stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from enum import Enum, auto
from typing import Final

import aiohttp
import httpx2
import orjson

from readalong.core.errors import ModelError
from readalong.worker.model.limits import LONGEST_LINE, AnswerTooLarge
from readalong.worker.model.transport import RESPONSE

#: The most in a piece: other streams wait while one is read.
_MOST: Final = 65_536
#: Bytes of blanks before a document.
_MOST_BLANKS: Final = 67_108_864
#: Bytes of a text that is neither stream nor JSON which are read for what it says.
_LONGEST_TEXT: Final = 8192

_BLANK: Final = b"\xef\xbb\xbf \t\r\n"
_FIELDS: Final = tuple(
    field + end for field in (b"data", b"event", b"id", b"retry", b"error") for end in (b":", b"\n", b"\r")
)
#: Says nothing to a decoder, and shows its reader that the model is alive.
_ALIVE: Final = b"\n"

Read = Callable[[], Awaitable[bytes]]

#: What libraries raise when a body breaks off.
CUT: Final = (httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError)


class _Form(Enum):
    STREAM = auto()
    JSON = auto()
    PAGE = auto()


class _Start:
    """The first bytes of a body, as many as tell its form."""

    def __init__(self) -> None:
        self.head = b""
        self.form: _Form | None = None
        self._blanks = 0

    @property
    def is_open(self) -> bool:
        """Whether more bytes may tell."""
        return self.form is None and len(self.head) <= _LONGEST_TEXT

    def add(self, piece: bytes) -> None:
        """Raises AnswerTooLarge for blanks without an end, which some servers send until their document is whole."""
        if self.head:
            self.head += piece
        else:
            self.head = piece.lstrip(_BLANK)
            self._blanks += len(piece) - len(self.head)
        self.form = _form(self.head)
        if self._blanks > _MOST_BLANKS:
            raise AnswerTooLarge(f"{_MOST_BLANKS} bytes")


async def events_of(
    response: httpx2.Response, clean: Callable[[str], str] = str, longest: int = LONGEST_LINE
) -> AsyncGenerator[bytes, None]:
    """The body as pieces of an event stream. Raises ModelError if it breaks off, or is neither stream nor JSON.

    `clean` takes our keys out of a text; `longest`: bytes of a JSON document in place of a stream.
    """
    try:
        async with _reading(response) as read:
            start = _Start()
            while start.is_open and (piece := await read()):
                start.add(piece)
                if start.form is None:
                    yield _ALIVE
            if start.form is _Form.STREAM:
                piece = start.head
                while piece:
                    if len(piece) <= _MOST:
                        yield piece
                    else:
                        for at in range(0, len(piece), _MOST):
                            yield piece[at : at + _MOST]
                    piece = await read()
            elif start.form is _Form.JSON:
                async with aclosing(_documents(start.head, read, longest)) as messages:
                    async for message in messages:
                        yield message
            else:
                raise _refused(start, response, clean)
    except CUT as error:
        raise cut(error) from None


def cut(error: Exception) -> ModelError:
    """The error of a body that breaks off."""
    root = type(causes_of(error)[-1]).__name__
    return ModelError("model_cut", f"The model broke off: {root}.", retryable=True)


def causes_of(error: BaseException) -> list[BaseException]:
    """The error, its cause, and so on; what was raised first is the last."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    return causes


async def start_of(response: httpx2.Response, most: int) -> bytes:
    """All of a short body, or its first bytes: one that goes on and on would fill our memory."""
    start = bytearray()
    if _codings(response) > 1:
        return b""
    async with _reading(response) as read:
        while len(start) <= most and (piece := await read()):
            start += piece
    return bytes(start)


@asynccontextmanager
async def _reading(response: httpx2.Response) -> AsyncIterator[Read]:
    """What returns the bytes that have come, or b"" at the end.

    Six generators stand between `aiter_bytes` and aiohttp, and only a compressed body needs them.
    """
    raw = response.extensions.get(RESPONSE)
    if isinstance(raw, aiohttp.ClientResponse) and not response.headers.get("content-encoding"):
        yield raw.content.readany
        return
    if _codings(response) > 1:
        # What is packed twice may be a thousand times a thousand times as long, and is unpacked in one go.
        raise ModelError("model_malformed", "The model's answer is compressed more than once.", retryable=False)
    async with aclosing(response.aiter_bytes()) as pieces:

        async def read() -> bytes:
            async for piece in pieces:
                # One read of the connection may be unpacked to many pieces: others get their turns between them.
                await asyncio.sleep(0)
                if piece:
                    return piece
            return b""

        yield read


def _codings(response: httpx2.Response) -> int:
    names = response.headers.get("content-encoding", "").lower().split(",")
    return sum(name.strip() not in ("", "identity") for name in names)


def _form(head: bytes) -> _Form | None:
    """What a body is that begins with these bytes; None while more are needed."""
    if head.startswith((b"{", b"[")):
        return _Form.JSON
    if head.startswith(b"<"):
        return _Form.PAGE
    if head.startswith((b":", *_FIELDS)) or b"\ndata:" in head:
        return _Form.STREAM
    return None


async def _documents(head: bytes, read: Read, longest: int) -> AsyncGenerator[bytes, None]:
    """JSON as messages: of each line if its first line is a document, otherwise of the whole."""
    body, piece = bytearray(head), head
    by_line: bool | None = None
    document, count = b"", 0
    while piece:
        if by_line is not False and b"\n" in piece:
            *lines, rest = bytes(body).split(b"\n")
            filled = [line for line in lines if line.strip(_BLANK)]
            if filled and by_line is None:
                by_line = _is_json(filled[0])
            if by_line:
                body = bytearray(rest)
                for document in filled:
                    count += 1
                    yield _message(document)
        yield _ALIVE
        piece = await read()
        body += piece
        if len(body) > longest:
            raise AnswerTooLarge(f"{longest} bytes")
    if body.strip(_BLANK):
        document = bytes(body)
        count += 1
        yield _message(document)
    if count == 1 and b'"delta"' not in document:
        # A whole answer needs no finish reason to be whole.
        yield b"data: [DONE]\n\n"


def _message(document: bytes) -> bytes:
    # JSON has no line ends but between its tokens.
    return b"data: " + document.strip(_BLANK).replace(b"\r", b" ").replace(b"\n", b" ") + b"\n\n"


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _refused(start: _Start, response: httpx2.Response, clean: Callable[[str], str]) -> ModelError:
    """Why a body is no answer."""
    kind = clean(response.headers.get("content-type", "")).partition(";")[0].strip().lower()[:80] or "no content type"
    if start.form is _Form.PAGE:
        # The address is no model's, mostly.
        return ModelError("model_malformed", f"The model answered with a page ({kind}).", retryable=False, refuses=True)
    if not start.head:
        status = response.status_code
        return ModelError("model_malformed", f"The model answered {status} with an empty body.", retryable=True)
    try:
        text = clean(start.head.strip(_BLANK).decode())
    except UnicodeDecodeError:
        return ModelError("model_malformed", f"The model answered with bytes ({kind}).", retryable=False)
    return ModelError("model_malformed", f"The model answered with text ({kind}): {text}", retryable=True)
