"""The path prefix under which a proxy serves the API."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

#: The first segments of the API's own paths.
OWN_SEGMENTS: Final = frozenset({"v1", "chat", "api", "agui", "page", "docs", "openapi.json", "healthz", "readyz"})


class RootPath:
    """ASGI middleware that restores the prefix which the proxy has removed: in ASGI the path includes `root_path`.

    A request that arrives with the prefix stays as it is, unless the prefix begins like a path of the API: behind
    `/chat`, `/chat/stream` is the call.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path
        self._is_ambiguous = root_path.split("/")[1] in OWN_SEGMENTS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (
            self._is_ambiguous or not f"{scope['path']}/".startswith(f"{self._root_path}/")
        ):
            scope = {**scope, "path": self._root_path + scope["path"]}
        await self._app(scope, receive, send)
