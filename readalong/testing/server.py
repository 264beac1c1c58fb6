"""The HTTP server of the demo model: routes, `create_app` and `serve`."""

import asyncio
import signal
import threading
from collections.abc import Callable

import orjson
from aiohttp import web

from readalong.testing.behaviours import Behaviour
from readalong.testing.demo_model import DEMO_MODEL, DemoModel
from readalong.testing.errors import ApiError
from readalong.testing.journal import Journal

SHUTDOWN_SECONDS = 0.3


def create_app(journal: Journal | None = None, model: DemoModel | None = None) -> web.Application:
    """Returns the model as an application. `model` replaces the usual one; it then has its own journal.

    Run it with `handler_cancellation=True`, as `serve` does: a silent stream would otherwise outlive its client.
    """
    app = web.Application()
    model = app[DEMO_MODEL] = model or DemoModel(journal)
    app.on_shutdown.append(_abort_streams)
    app.router.add_post("/v1/chat/completions", model.completions)
    app.router.add_post("/openai/deployments/{deployment}/chat/completions", model.completions)
    app.router.add_get("/v1/models", _models)
    app.router.add_get("/healthz", _health)
    app.router.add_get("/stats", _stats)
    app.router.add_route("*", "/{path:.*}", _unknown)
    return app


async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[str], None] | None = None,
    *,
    handle_signals: bool = True,
    journal: Journal | None = None,
    model: DemoModel | None = None,
) -> None:
    """Serves until it is cancelled, or, with `handle_signals` in the main thread, until SIGTERM, SIGINT or SIGHUP.

    Port 0 means any free port. `on_ready` is called with the base URL, `http://HOST:PORT/v1`, when connections are
    accepted. `journal` records requests and the ends of streams. `model` is that of `create_app`. Open streams are cut
    at the end. Raises OSError if the port is taken.
    """
    app = create_app(journal, model)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = _ending_signals() if handle_signals and _in_main_thread() else ()
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
        for number in signals:
            loop.add_signal_handler(number, stop.set)
        if on_ready is not None:
            on_ready(_base_url(host, runner.addresses[0][1]))
        await stop.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        await runner.cleanup()


def _ending_signals() -> tuple[signal.Signals, ...]:
    """Returns the signals that end the server. SIGHUP is one, unless `nohup` has started this process."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    return numbers if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else numbers[:2]


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _base_url(host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/v1"


async def _abort_streams(app: web.Application) -> None:
    app[DEMO_MODEL].abort_streams()


async def _models(_: web.Request) -> web.Response:
    names = ["demo", *(f"demo-{behaviour}" for behaviour in Behaviour)]
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "readalong"} for name in names]
    return _json({"object": "list", "data": models})


async def _health(_: web.Request) -> web.Response:
    return _json({"status": "ok"})


async def _stats(request: web.Request) -> web.Response:
    return _json(request.app[DEMO_MODEL].stats.snapshot())


async def _unknown(request: web.Request) -> web.Response:
    error = ApiError(404, f"Unknown request URL: {request.method} {request.path}.", code="unknown_url")
    return web.Response(status=404, body=error.body(), content_type="application/json")


def _json(body: object) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")
