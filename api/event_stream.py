"""A watcher as a response."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.feed import Feed
from api.formats import Format
from api.hub import Hub
from api.watcher import Watcher


class EventStream(Response):
    """Relays a feed from a position on, in one wire format, until the terminal event or the client's leaving. `epoch`
    is that of the position."""

    media_type = "text/event-stream"

    def __init__(
        self,
        hub: Hub,
        feed: Feed,
        wire: Format,
        position: int,
        *,
        send_timeout: float,
        epoch: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._extra = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        self._watcher = Watcher(feed, wire, position, send_timeout, hub.left, epoch=epoch)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._watcher.run(scope, receive, send, self._extra)
