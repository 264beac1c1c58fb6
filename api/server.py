"""uvicorn around the application: processes, signals, and the end of open streams."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.app import create_app
from readalong.errors import BadSettings
from readalong.settings import Settings

logger = logging.getLogger(__name__)


class Protocol(HttpToolsProtocol):
    """Lets a watcher drop its connection: closing it the ASGI way waits for a client that reads nothing."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {"readalong.abort": self.transport.abort}
        self.scope["extensions"] = extensions


class Server(uvicorn.Server):
    """Ends open streams first: uvicorn would wait for them before it tells the application to stop."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            # Not one more connection, or clients whose streams end would come back to this very process.
            server.close()
        services = self.lifespan.state.get("services")
        if services is not None:
            await services.hub.close()
        await super().shutdown(sockets)


def run(settings: Settings, *, host: str, port: int, processes: int = 1) -> int:
    """Serves until SIGTERM or SIGINT; answers the exit code. Raises BadSettings if the address cannot be used."""
    listener = _listen(host, port)
    with listener:
        if processes == 1:
            return _serve(settings, listener)
        return _supervise(processes, lambda: _serve(settings, listener))


def _obeyed(_number: int, _frame: object) -> None:
    """Does nothing: see `_serve`."""


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise BadSettings(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    listener.listen(4096)
    listener.set_inheritable(True)
    return listener


def _serve(settings: Settings, listener: socket.socket) -> int:
    server = Server(
        uvicorn.Config(
            create_app(settings),
            http=Protocol,
            loop="uvloop",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            backlog=4096,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
            server_header=False,
        )
    )
    # uvicorn raises the signal once more when it has ended; it has been obeyed by then.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _obeyed)
    host, port = listener.getsockname()[:2]
    logger.info("serving on http://%s:%d, process %d", f"[{host}]" if ":" in host else host, port, os.getpid())
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _supervise(processes: int, serve: Callable[[], int]) -> int:
    """Runs `serve` in forked processes that share the listener, and replaces those that die."""
    children: dict[int, float] = {}
    stopping = False

    def stop(number: int, _: object) -> None:
        nonlocal stopping
        stopping = True
        for pid in children:
            os.kill(pid, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    while True:
        while not stopping and len(children) < processes:
            pid = os.fork()
            if pid == 0:
                os._exit(_in_child(serve))
            children[pid] = time.monotonic()
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return 0
        began = children.pop(pid)
        if not stopping:
            logger.error("process %d ended with %d", pid, os.waitstatus_to_exitcode(status))
            if time.monotonic() - began < 1:
                time.sleep(1)  # a process that dies at once must not spin


def _in_child(serve: Callable[[], int]) -> int:
    try:
        return serve()
    except Exception:
        logger.exception("an API process broke")
        return 1
