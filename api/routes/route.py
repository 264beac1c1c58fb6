"""How a request reaches its function, and what it hears when the process stops first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from readalong.api.auth.origins import check_origin
from readalong.core.errors import Stopping

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Route(APIRoute):
    """A route of FastAPI, guarded."""

    def get_route_handler(self) -> Handler:
        return _guarded(super().get_route_handler())


def serve_directly(app: FastAPI, *routes: tuple[str, str, Handler]) -> None:
    """Adds guarded routes of Starlette: method, path and function. They come first; the routers of FastAPI that are
    included later describe the same functions.

    For what lies on the way to a token: to find a route in a router and to solve its parameters costs FastAPI
    a tenth of such a request.
    """
    for method, path, handle in routes:
        app.add_route(path, _guarded(handle), methods=[method])


def _guarded(handle: Handler) -> Handler:
    """Refuses a foreign page's request, and tells a request so that a stopping process gives up."""

    async def answer(request: Request) -> Response:
        check_origin(request)
        try:
            return await handle(request)
        except asyncio.CancelledError:
            # uvicorn waits for two seconds, and would answer 500.
            raise Stopping("This process is stopping.", retry_after=1) from None

    return answer


def answer_heads(router: APIRouter) -> None:
    """Lets HEAD be asked of what GET is, without describing it twice. The server leaves the body away."""
    for route in list(router.routes):
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            path = route.path.removeprefix(router.prefix)
            router.add_api_route(
                path, route.endpoint, methods=["HEAD"], response_class=route.response_class, include_in_schema=False
            )
