"""Routes that FastAPI describes and does not solve: a function hears the same both ways."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import pytest
from fastapi import APIRouter, FastAPI, Header, Query, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from api.routes.jobs import Used
from api.routes.jobs import router as jobs
from api.routes.route import Route, direct


async def plain(
    request: Request,
    name: str,
    used: Used,
    key: Annotated[str | None, Header(alias="X-Key")] = None,
    after: Annotated[str | None, Query()] = None,
) -> Response:
    return Response(orjson.dumps([request.url.path, name, str(used), key, after]))


async def number(used: Used, after: Annotated[int | None, Query()] = None) -> Response:
    return Response(orjson.dumps(after))


async def required(used: Used, after: Annotated[str, Query()]) -> Response:
    return Response(orjson.dumps(after))


async def bounded(used: Used, after: Annotated[str | None, Query(max_length=2)] = None) -> Response:
    return Response(orjson.dumps(after))


async def defaulted(used: Used, after: Annotated[str | None, Query()] = "7") -> Response:
    return Response(orjson.dumps(after))


def solved(route: APIRoute) -> bool:
    return direct(route.dependant, route.endpoint) is None


async def answer(route_class: type[APIRoute], function: Any, path: str, query: str, *keys: str) -> tuple[int, bytes]:
    """Status and body of a GET, by the application itself."""
    app = FastAPI()
    app.state.services = "the services"
    router = APIRouter(route_class=route_class)
    router.get("/{name}/x" if function is plain else "/x", response_class=Response)(function)
    app.include_router(router)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"here"), *((b"x-key", key.encode()) for key in keys)]
    asked = {"method": "GET", "path": path, "query_string": query.encode(), "headers": headers}
    scope = {"type": "http", "http_version": "1.1", "scheme": "http", "root_path": "", "server": ("here", 80)}
    await app({**scope, **asked}, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.parametrize("query", ["", "after=", "after=1", "after=1&after=2", "after=%C3%BC+%2B", "other=1"])
@pytest.mark.parametrize("keys", [(), ("a",), ("a", "b"), ("",)])
async def test_a_function_of_texts_hears_what_fastapi_would_tell_it(query: str, keys: tuple[str, ...]) -> None:
    told = await answer(Route, plain, "/some job/x", query, *keys)
    assert told == await answer(APIRoute, plain, "/some job/x", query, *keys)
    assert told[0] == 200
    assert orjson.loads(told[1])[:3] == ["/some job/x", "some job", "the services"]


@pytest.mark.parametrize("function", [number, required, bounded, defaulted])
@pytest.mark.parametrize("query", ["", "after=x", "after=123"])
async def test_what_has_to_be_checked_or_filled_in_is_left_to_fastapi(function: Any, query: str) -> None:
    assert await answer(Route, function, "/x", query) == await answer(APIRoute, function, "/x", query)


def test_of_the_jobs_routes_only_the_list_has_to_be_solved() -> None:
    """By the way to a first token, the submit and the watch are not."""
    routes = [route for route in jobs.routes if isinstance(route, APIRoute)]
    assert [(route.path, *(route.methods or ())) for route in routes if solved(route)] == [
        ("/v1/jobs", "GET"),
        ("/v1/jobs", "HEAD"),
    ]
