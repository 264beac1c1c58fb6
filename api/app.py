"""The ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypedDict

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from readalong import __version__
from readalong.api import problems
from readalong.api.auth.hosts import AllowedHosts
from readalong.api.auth.policy import Everybody, Policy
from readalong.api.dependencies import Dependencies
from readalong.api.ending import EndAtSignal
from readalong.api.http.prefix import Prefix
from readalong.api.problems import Problem
from readalong.api.routes import chat, health, jobs
from readalong.api.routes.route import serve_directly
from readalong.core.settings import Settings

_PAGE: Final = Path(__file__).parent / "page"
#: Of all that a browser shows as a page, or loads for one.
_PAGE_HEADERS: Final = {
    # Browsers are to ask each time: after an upgrade they would mix old and new modules.
    "cache-control": "no-cache",
    # Nothing but the files beside it and the API: text that became markup by a mistake could do nothing, nor could a
    # page around it lure a click.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    # A link to a job holds its id, which is its only key.
    "referrer-policy": "no-referrer",
}

#: FastAPI's own error, and a part of it.
_NEVER_SENT: Final = ("HTTPValidationError", "ValidationError")


class _PageFiles(StaticFiles):
    """Files with the headers of pages."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_PAGE_HEADERS)
        return response


class State(TypedDict):
    """What the server sees of the application while it runs."""

    services: Dependencies
    ending: EndAtSignal


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[State]:
    """Runs the services of an application that `create_app` made: its lifespan, and part of that of an application in
    which it is mounted, since a mounted one's is not run."""
    services = app.state.services = Dependencies.build(app.state.settings, app.state.policy, app.state.on_death)
    services.start()
    ending = EndAtSignal(services.hub)
    ending.arm()
    try:
        yield {"services": services, "ending": ending}
    finally:
        ending.disarm()
        await services.close()


def create_app(
    settings: Settings, *, policy: Policy | None = None, on_death: Callable[[], None] = lambda: None
) -> FastAPI:
    """The application; Redis may be away when it starts.

    `policy`: who may do what; None: every request may do everything. `on_death()` is called when a background task has
    ended, without which this process hears nothing: it should end. The log and /readyz tell it in any case.
    """
    app = FastAPI(
        title="readalong",
        version=__version__,
        summary="One generation, many readers.",
        lifespan=running,
        docs_url=None,  # FastAPI's own runs a script of another site
        redoc_url=None,
        # To ask whether there is any costs a tenth of a request. An application around this one has its own.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        redirect_slashes=False,  # to an address that the Host names, which the client chooses
    )
    app.state.settings = settings
    app.state.policy = policy or Everybody()
    app.state.on_death = on_death
    if settings.root_path:
        app.root_path = settings.root_path
        app.add_middleware(Prefix, root_path=settings.root_path)
    problems.install(app)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=("GET", "HEAD", "POST", "DELETE"),
            allow_headers=("Authorization", "Content-Encoding", "Idempotency-Key", "Last-Event-ID"),
            expose_headers=("Location", "Retry-After", "X-Job-Id"),
        )
    serve_directly(app, *jobs.HOT, *chat.HOT)
    for router in (jobs.router, chat.router):
        app.include_router(router, responses=problems.anywhere(421))
    app.include_router(health.router, responses=problems.anywhere())
    app.mount("/page", _PageFiles(directory=_PAGE), name="page")

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def index() -> Response:
        """The page."""
        return FileResponse(_PAGE / "index.html", headers=_PAGE_HEADERS)

    @app.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
    async def docs() -> Response:
        """The API's description, for people."""
        return FileResponse(_PAGE / "docs.html", headers=_PAGE_HEADERS)

    # The last one is the first to see a request.
    app.add_middleware(AllowedHosts, names=settings.allowed_hosts)
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Adds the schemas that routes name but FastAPI does not see, since they read their bodies themselves, and takes
    out the error in a form of its own that it describes with every parameter: ours are problems."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            schemas = schema["components"]["schemas"]
            schemas[Problem.__name__] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            for name in _NEVER_SENT:
                schemas.pop(name, None)
            for operation in (each for path in schema["paths"].values() for each in path.values()):
                operation["responses"] = {
                    status: answer
                    for status, answer in sorted(operation["responses"].items())
                    if status != "422" or problems.MEDIA_TYPE in answer["content"]
                }
        return app.openapi_schema or generate()

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents
