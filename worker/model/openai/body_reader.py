"""Reads a response body as an SSE stream, whatever its content type.

The first bytes tell the format. A stream passes through. JSON, one document or one a line, becomes SSE messages.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from enum import Enum, auto
from typing import Final

import aiohttp
import orjson

from readalong.core.errors import ModelError
from readalong.worker.model.limits import MAX_LINE_BYTES, AnswerTooLarge

logger = logging.getLogger(__name__)

#: Longest piece in bytes: other streams wait while one is parsed.
_MAX_PIECE: Final = 65_536
#: Most blanks before a document, in bytes.
_MAX_BLANKS: Final = 67_108_864
#: Bytes that are read of a text that is neither a stream nor JSON.
_MAX_TEXT: Final = 8192

_BLANK: Final = b"\xef\xbb\xbf \t\r\n"
_FIELDS: Final = tuple(
    field + end for field in (b"data", b"event", b"id", b"retry", b"error") for end in (b":", b"\n", b"\r")
)
#: A piece without a message: it shows that the model is alive.
_SIGN_OF_LIFE: Final = b"\n"

#: Returns the bytes that have come, or b"" at the end.
Read = Callable[[], Awaitable[bytes]]


class _Format(Enum):
    STREAM = auto()
    JSON = auto()
    PAGE = auto()


class _BodyStart:
    """The first bytes of a body, until they tell its format."""

    def __init__(self) -> None:
        self.head = b""
        self.format: _Format | None = None
        self._blanks = 0

    @property
    def is_open(self) -> bool:
        """Whether more bytes are needed to tell the format."""
        return self.format is None and len(self.head) <= _MAX_TEXT

    def add(self, piece: bytes) -> None:
        """Adds bytes. Raises AnswerTooLarge for endless blanks, which some servers send before their document."""
        if self.head:
            self.head += piece
        else:
            self.head = piece.lstrip(_BLANK)
            self._blanks += len(piece) - len(self.head)
        self.format = _format_of(self.head)
        if self._blanks > _MAX_BLANKS:
            raise AnswerTooLarge(f"{_MAX_BLANKS} bytes")


async def sse_pieces(
    read: Read, status: int, kind: str, clean: Callable[[str], str] = str, longest: int = MAX_LINE_BYTES
) -> AsyncGenerator[bytes, None]:
    """Yields a body as pieces of an SSE stream. Raises ModelError if it ends early or has another format.

    `status` and `kind`, its content type, are for an error. `clean` removes our keys from a text. `longest`: bytes of a
    JSON document in place of a stream.
    """
    try:
        start = _BodyStart()
        while start.is_open and (piece := await read()):
            start.add(piece)
            if start.format is None:
                yield _SIGN_OF_LIFE
        if start.format is _Format.STREAM:
            piece = start.head
            while piece:
                if len(piece) <= _MAX_PIECE:
                    yield piece
                else:
                    for at in range(0, len(piece), _MAX_PIECE):
                        yield piece[at : at + _MAX_PIECE]
                piece = await read()
        elif start.format is _Format.JSON:
            async with aclosing(_json_as_sse(start.head, read, longest)) as messages:
                async for message in messages:
                    yield message
        else:
            raise _not_an_answer(start, status, kind, clean)
    except aiohttp.ClientError as error:
        raise _closed_early(error) from None


def _closed_early(error: Exception) -> ModelError:
    """Returns the error of a body that ends early. Logs the library's error."""
    logger.info("the model closed the stream early: %s", type(cause_chain(error)[-1]).__name__)
    return ModelError("model_cut", "The model closed the stream early.", retryable=True)


def cause_chain(error: BaseException) -> list[BaseException]:
    """Returns the error, its cause, and so on. The error that was raised first comes last."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    return causes


async def read_prefix(read: Read, most: int) -> bytes:
    """Returns a short body, or the first bytes of a longer one, which might never end. Raises ModelError."""
    start = bytearray()
    try:
        while len(start) <= most and (piece := await read()):
            start += piece
    except aiohttp.ClientError as error:
        raise _closed_early(error) from None
    return bytes(start)


def _format_of(head: bytes) -> _Format | None:
    """Returns the format of a body that begins with these bytes; None while more are needed."""
    if head.startswith((b"{", b"[")):
        return _Format.JSON
    if head.startswith(b"<"):
        return _Format.PAGE
    if head.startswith((b":", *_FIELDS)) or b"\ndata:" in head:
        return _Format.STREAM
    return None


async def _json_as_sse(head: bytes, read: Read, longest: int) -> AsyncGenerator[bytes, None]:
    """Yields JSON as SSE messages: one for each line if the first line is a document, otherwise one for the whole."""
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
        yield _SIGN_OF_LIFE
        piece = await read()
        body += piece
        if len(body) > longest:
            raise AnswerTooLarge(f"{longest} bytes")
    if body.strip(_BLANK):
        document = bytes(body)
        count += 1
        yield _message(document)
    if count == 1 and b'"delta"' not in document:
        # A whole answer is complete without a finish reason.
        yield b"data: [DONE]\n\n"


def _message(document: bytes) -> bytes:
    # In JSON a line end stands only between tokens.
    return b"data: " + document.strip(_BLANK).replace(b"\r", b" ").replace(b"\n", b" ") + b"\n\n"


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _not_an_answer(start: _BodyStart, status: int, kind: str, clean: Callable[[str], str]) -> ModelError:
    """Returns the error of a body in another format."""
    kind = clean(kind).partition(";")[0].strip().lower()[:80] or "no content type"
    if start.format is _Format.PAGE:
        # Mostly the address is wrong.
        return ModelError("model_malformed", f"The model answered with a page ({kind}).", retryable=False, refuses=True)
    if not start.head:
        return ModelError("model_malformed", f"The model answered {status} with an empty body.", retryable=True)
    try:
        text = clean(start.head.strip(_BLANK).decode())
    except UnicodeDecodeError:
        return ModelError("model_malformed", f"The model answered with bytes ({kind}).", retryable=False)
    return ModelError("model_malformed", f"The model answered with text ({kind}): {text}", retryable=True)
