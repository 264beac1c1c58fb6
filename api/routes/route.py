"""How a request reaches its function, and what it hears when the process stops first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from api.origin import check_origin
from api.services import services
from readalong.errors import Stopping

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Route(APIRoute):
    """A route that FastAPI describes. Its function is called directly where `direct` allows it; a foreign page's
    request is refused, and one that a stopping process gives up is told so."""

    def get_route_handler(self) -> Handler:
        handle = direct(self.dependant, self.endpoint) or super().get_route_handler()

        async def answer(request: Request) -> Response:
            check_origin(request)
            try:
                return await handle(request)
            except asyncio.CancelledError:
                # uvicorn waits for two seconds, and would answer 500.
                raise Stopping("This process is stopping.", retry_after=1) from None

        return answer


def direct(known: Dependant, call: Callable[..., Any]) -> Handler | None:
    """A handler for a function that takes only texts, the request and the services and returns a Response; None for any
    other. To solve that much takes FastAPI a tenth of a millisecond, on the way to a first token twice."""
    parameters = [*known.path_params, *known.query_params, *known.header_params]
    needs = [need.call for need in known.dependencies]
    plain = all(parameter.field_info.annotation is str for parameter in known.path_params) and all(
        parameter.field_info.annotation == str | None and parameter.field_info.default is None
        for parameter in (*known.query_params, *known.header_params)
    )
    checked = any(parameter.field_info.metadata for parameter in parameters)
    if not plain or checked or known.cookie_params or known.body_params or needs != [services]:
        return None
    used = known.dependencies[0].name or ""
    path = [parameter.name for parameter in known.path_params]
    query = [(parameter.name, parameter.alias) for parameter in known.query_params]
    headers = [(parameter.name, parameter.alias) for parameter in known.header_params]

    async def handle(request: Request) -> Response:
        found: dict[str, Any] = {used: await services(request)}
        if known.request_param_name is not None:
            found[known.request_param_name] = request
        for name in path:
            found[name] = request.path_params[name]
        for name, alias in query:
            found[name] = request.query_params.get(alias)
        for name, alias in headers:
            found[name] = request.headers.get(alias)
        response: Response = await call(**found)
        return response

    return handle


def answer_heads(router: APIRouter) -> None:
    """Lets HEAD be asked of what GET is, without describing it twice. The server leaves the body away."""
    for route in list(router.routes):
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            path = route.path.removeprefix(router.prefix)
            router.add_api_route(
                path, route.endpoint, methods=["HEAD"], response_class=route.response_class, include_in_schema=False
            )
