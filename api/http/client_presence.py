"""Whether the client of a request still waits for its answer."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from readalong.api.http.detachable import DetachableConnection


async def check_presence(request: Request) -> None:
    """Raises ClientDisconnect if the client has gone: what it asked for is to be read no further."""
    line: DetachableConnection | None = request.scope.get("extensions", {}).get("readalong.line")
    # Of our own connection it is known at once; to ask ASGI costs a turn of the loop.
    gone = await request.is_disconnected() if line is None else line.transport.is_closing()
    if gone:
        raise ClientDisconnect
