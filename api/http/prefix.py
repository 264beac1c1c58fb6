"""The path prefix under which a proxy shows the API."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

#: The first parts of our own paths.
OWN: Final = frozenset({"v1", "chat", "page", "docs", "openapi.json", "healthz", "readyz"})


class Prefix:
    """ASGI middleware that puts the prefix back which the proxy has taken off, as ASGI wants it of a path.

    A request that comes with its prefix is understood too, except where the prefix begins like a path of ours: behind
    `/chat`, `/chat/stream` is the stream.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path
        self._like_ours = root_path.split("/")[1] in OWN

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (self._like_ours or not f"{scope['path']}/".startswith(f"{self._root_path}/")):
            scope = {**scope, "path": self._root_path + scope["path"]}
        await self._app(scope, receive, send)
