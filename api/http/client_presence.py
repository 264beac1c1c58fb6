"""Whether the client of a request is still connected."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from readalong.api.http.detachable import DetachableConnection


async def check_presence(request: Request) -> None:
    """Raises ClientDisconnect if the client has left, so that nothing more is read for it."""
    connection: DetachableConnection | None = request.scope.get("extensions", {}).get("readalong.line")
    # Our own connection knows at once; asking through ASGI costs a turn of the event loop.
    gone = await request.is_disconnected() if connection is None else connection.transport.is_closing()
    if gone:
        raise ClientDisconnect
