"""What the server can do for one request: well-formed or broken streams and responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import orjson

from tests.clients.conformance.scenario import JOB, Act

if TYPE_CHECKING:
    from tests.clients.conformance.server import Exchange

#: How a stream ends: properly; in the middle of the body; with an RST, which may take back what was sent last; not
#: before the client leaves.
End = Literal["eof", "cut", "reset", "hold"]

_HEAD = (
    "HTTP/1.1 {status} Scripted\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n"
    "Cache-Control: no-cache\r\nConnection: close\r\n\r\n"
)


def event(id_: str, kind: str, **fields: Any) -> bytes:
    """One event as the API writes it. `id_` may be empty: none is sent."""
    head = f"id: {id_}\n" if id_ else ""
    return f"{head}event: {kind}\ndata: ".encode() + orjson.dumps({"type": kind, **fields}) + b"\n\n"


def text(id_: str, content: str, **more: Any) -> bytes:
    return event(id_, "content", content=content, **more)


def done(id_: str, content: str = "", **more: Any) -> bytes:
    return event(id_, "done", finish_reason="stop", content=content, **more)


def stream(
    *pieces: bytes,
    end: End = "eof",
    kind: str = "text/event-stream; charset=utf-8",
    cancelled: Sequence[bytes] | None = None,
) -> Act:
    """A stream of these pieces, one chunk each. `cancelled`: more of them, sent once a cancel was asked for."""

    async def act(exchange: Exchange) -> None:
        await exchange.write(_HEAD.format(status=200, kind=kind).encode())
        for piece in pieces:
            await exchange.chunk(piece)
        if cancelled is not None:
            await exchange.run.until(lambda: exchange.run.asked("POST", f"/v1/jobs/{JOB}/cancel"))
            for piece in cancelled:
                await exchange.chunk(piece)
        await _end(exchange, end)

    return act


def bytewise(*pieces: bytes) -> Act:
    """A stream in which each byte is a chunk."""
    whole = b"".join(pieces)
    return stream(*(whole[place : place + 1] for place in range(len(whole))))


def cut_after(log: Sequence[bytes], count: int, end: End = "cut") -> Act:
    """What follows the client's position in `log`, of which `count` bytes are sent before the connection breaks."""

    async def act(exchange: Exchange) -> None:
        left = b"".join(log[exchange.position :])
        await exchange.write(_HEAD.format(status=200, kind="text/event-stream").encode())
        if count:
            await exchange.chunk(left[:count])
        await _end(exchange, "eof" if count >= len(left) else end)

    return act


def reply(status: int, body: Any = None, *, kind: str = "application/json", **headers: str) -> Act:
    """A whole response; `headers` have `_` for `-`."""

    async def act(exchange: Exchange) -> None:
        payload = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        lines = [f"HTTP/1.1 {status} Scripted", f"Content-Type: {kind}", "Connection: close"]
        if status != 204:
            lines.append(f"Content-Length: {len(payload)}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await exchange.write(("\r\n".join(lines) + "\r\n\r\n").encode() + payload)

    return act


def problem(status: int, code: str, *, retryable: bool = False, field: str | None = None, **headers: str) -> Act:
    """An error of the API."""
    body = {"type": "about:blank", "title": code, "status": status, "code": code, "detail": f"It is {code}."}
    more = {} if field is None else {"field": field}
    return reply(status, {**body, "retryable": retryable, **more}, kind="application/problem+json", **headers)


def job(status: str = "queued", code: int = 202, **more: Any) -> Act:
    """The job as a submit, an inspect or a cancel returns it."""
    fields = {"id": JOB, "status": status, "model": "demo", "attempt": 0, "created_at": "2026-01-02T03:04:05.678Z"}
    return reply(code, {**fields, **more})


async def drop(exchange: Exchange) -> None:
    """No response: the connection closes."""


async def reset(exchange: Exchange) -> None:
    """No response: the connection is reset."""
    exchange.reset()


async def silence(exchange: Exchange) -> None:
    """The head of a stream, then nothing until the client leaves."""
    await exchange.write(_HEAD.format(status=200, kind="text/event-stream").encode())
    await exchange.client_leaves()


async def _end(exchange: Exchange, end: End) -> None:
    if end == "eof":
        await exchange.write(b"0\r\n\r\n")
    elif end == "reset":
        exchange.reset()
    elif end == "hold":
        await exchange.client_leaves()
