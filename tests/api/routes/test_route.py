"""The paths to a token: FastAPI describes them, and Starlette serves them."""

from __future__ import annotations

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Match

from readalong.api.app import create_app
from readalong.api.routes import chat, jobs
from readalong.api.routes.route import Handler
from readalong.core.settings import Settings

DIRECT = [*jobs.DIRECT, *chat.DIRECT]


@pytest.mark.parametrize(("method", "path", "function"), DIRECT, ids=[f"{method} {path}" for method, path, _ in DIRECT])
def test_a_path_to_a_token_is_served_by_the_function_that_is_described_and_not_by_fastapi(
    method: str, path: str, function: Handler
) -> None:
    described = [
        route.endpoint
        for route in (*jobs.router.routes, *chat.router.routes)
        if isinstance(route, APIRoute) and route.path == path and method in (route.methods or ())
    ]
    assert described == [function]
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    first = next(route for route in create_app(Settings()).routes if route.matches(scope)[0] is Match.FULL)
    assert type(first).__module__ == "starlette.routing"
