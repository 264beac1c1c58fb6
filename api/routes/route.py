"""Guards around the functions of routes."""

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
    """A guarded route of FastAPI."""

    def get_route_handler(self) -> Handler:
        return _guarded(super().get_route_handler())


def add_direct_routes(app: FastAPI, *routes: tuple[str, str, Handler]) -> None:
    """Adds guarded routes of Starlette: method, path and function.

    They precede the routers of FastAPI, which are included later and describe the same functions. Finding a route in a
    router and solving its parameters costs FastAPI a tenth of a submit or a watch.
    """
    for method, path, handle in routes:
        app.add_route(path, _guarded(handle), methods=[method])


def _guarded(handle: Handler) -> Handler:
    """Refuses requests of foreign pages, and turns the cancellation by a stopping server into a 503."""

    async def guard(request: Request) -> Response:
        check_origin(request)
        try:
            return await handle(request)
        except asyncio.CancelledError:
            # uvicorn, which cancels requests two seconds after its stop, would send a 500.
            raise Stopping("This process is stopping.", retry_after=1) from None

    return guard


def add_head_routes(router: APIRouter) -> None:
    """Adds a HEAD route, which openapi.json omits, for each GET route. The server leaves the body out."""
    for route in list(router.routes):
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            path = route.path.removeprefix(router.prefix)
            router.add_api_route(
                path, route.endpoint, methods=["HEAD"], response_class=route.response_class, include_in_schema=False
            )
