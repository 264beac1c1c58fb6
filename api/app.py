"""The ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypedDict

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from readalong import __version__
from readalong.api import error_handlers
from readalong.api.auth.hosts import AllowedHosts
from readalong.api.auth.policy import AllowAll, Policy, check_policy
from readalong.api.dependencies import Dependencies
from readalong.api.http.root_path import RootPath
from readalong.api.openapi import DescribedAPI, operation_id
from readalong.api.page_files import PageFiles, page_response
from readalong.api.problems import describe_common
from readalong.api.routes import (
    ag_ui,
    ai_sdk,
    chat,
    durable_stream,
    health,
    jobs,
    openai_chat,
    openai_completions,
    openai_conversations,
    openai_models,
    openai_responses,
    operations,
    threads,
)
from readalong.api.routes.route import add_direct_routes
from readalong.api.signal_shutdown import SignalShutdown
from readalong.core.settings import Settings

#: Request headers of pages: what the API reads, and what the OpenAI SDKs and the AI SDK send by themselves.
_CORS_HEADERS: Final = (
    *("Authorization", "Content-Encoding", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID"),
    "Prefer",
    *("OpenAI-Beta", "OpenAI-Organization", "OpenAI-Project", "User-Agent", "X-Client-Request-Id"),
    *(
        f"X-Stainless-{name}"
        for name in (
            *(
                "Arch",
                "Async",
                "Custom-Event-Handler",
                "Custom-Poll-Interval",
                "Helper-Method",
                "Lang",
                "OS",
                "Package-Version",
                "Poll-Helper",
            ),
            *("Raw-Response", "Read-Timeout", "Retry-Count", "Runtime", "Runtime-Version", "Stream-Helper", "Timeout"),
        )
    ),
)
#: Response headers that those pages may read.
_CORS_EXPOSED: Final = (
    *("Link", "Location", "Retry-After", "X-Job-Id", "X-Request-Id", "X-Should-Retry"),
    *("ETag", "Stream-Closed", "Stream-Cursor", "Stream-Expires-At", "Stream-Next-Offset", "Stream-Up-To-Date"),
    *("X-Vercel-AI-UI-Message-Stream", "X-Workflow-Run-Id", "X-Workflow-Stream-Tail-Index"),
)


class State(TypedDict):
    """The lifespan state, which the server reads."""

    dependencies: Dependencies
    signal_shutdown: SignalShutdown


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[State]:
    """Starts the dependencies of an application that `create_app` returned, and closes them.

    This is the application's lifespan. Starlette does not run the lifespan of a mounted application, so the
    application around it must.
    """
    deps = app.state.dependencies = Dependencies.build(app.state.settings, app.state.policy, app.state.on_death)
    deps.start()
    shutdown = SignalShutdown(deps.hub)
    shutdown.arm()
    try:
        yield {"dependencies": deps, "signal_shutdown": shutdown}
    finally:
        shutdown.disarm()
        await deps.close()


def create_app(
    settings: Settings, *, policy: Policy | None = None, on_death: Callable[[], None] = lambda: None
) -> FastAPI:
    """Returns the application. Redis may be away when the application starts.

    `policy`: who may do what; None: every request may do everything. `on_death()` is called when a background task
    has ended, without which watchers of this process get no more events: the process should end. The log and /readyz
    report the ended task in any case. Raises TypeError for a policy that lacks a method.
    """
    policy = policy or AllowAll()
    check_policy(policy)
    app = DescribedAPI(
        title="readalong",
        version=__version__,
        summary="One generation, many readers.",
        lifespan=running,
        generate_unique_id_function=operation_id,
        docs_url=None,  # FastAPI's own page runs a script of another site
        redoc_url=None,
        # Looking for a tracer costs a tenth of a request. An application around this one has its own.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        redirect_slashes=False,  # the redirect would repeat the Host, which the client chooses
    )
    app.state.settings = settings
    app.state.policy = policy
    app.state.on_death = on_death
    if settings.root_path:
        app.root_path = settings.root_path
        app.add_middleware(RootPath, root_path=settings.root_path)
    error_handlers.install(app)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=("GET", "HEAD", "POST", "DELETE"),
            allow_headers=_CORS_HEADERS,
            expose_headers=_CORS_EXPOSED,
        )
    direct = (*jobs.DIRECT, *chat.DIRECT, *openai_chat.DIRECT, *openai_responses.DIRECT, *ai_sdk.DIRECT)
    add_direct_routes(app, *direct, *ag_ui.DIRECT, *durable_stream.DIRECT)
    for router in (jobs.router, threads.router, chat.router, durable_stream.router, operations.router):
        app.include_router(router, responses=describe_common(401, 403, 421))
    for router in (openai_chat.router, openai_completions.router, openai_responses.router):
        app.include_router(router)
    for router in (openai_conversations.router, openai_models.router, ai_sdk.router, ag_ui.router):
        app.include_router(router)
    app.include_router(health.router, responses=describe_common())
    app.mount("/page", PageFiles(), name="page")

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def index(request: Request) -> Response:
        """Returns the page."""
        return page_response("index.html", request)

    @app.api_route("/docs", methods=["GET", "HEAD"], include_in_schema=False)
    async def docs(request: Request) -> Response:
        """Returns the description of the API for people."""
        return page_response("docs.html", request)

    @app.api_route("/inspect", methods=["GET", "HEAD"], include_in_schema=False)
    async def inspect(request: Request) -> Response:
        """Returns the inspector."""
        return page_response("inspect/index.html", request)

    # The middleware added last sees a request first.
    app.add_middleware(AllowedHosts, names=settings.allowed_hosts)
    return app
