"""`readalong api`: processes, signals and the listening socket around the application."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from readalong import __version__
from readalong.api.app import create_app
from readalong.api.http.access_log import AccessLog
from readalong.core.errors import BadSettings
from readalong.core.settings import Settings
from readalong.process.signals import REPORT, ending_signals, ignore_reports
from readalong.redis.client import connect

logger = logging.getLogger(__name__)

#: Bytes that the kernel buffers of a response whose client does not read; Linux doubles the number.
_SEND_BUFFER: Final = 131_072
#: A name, or an IPv4 address.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def run(settings: Settings, *, host: str, port: int, processes: int = 1) -> int:
    """Serves until SIGTERM, SIGINT or SIGHUP. Returns the exit code.

    Raises BadSettings if the address to listen on, or that of Redis, cannot be used.
    """
    ignore_reports()
    if _NAME.fullmatch(host):  # clients use the name that the server listens on
        settings = settings.model_copy(update={"hosts": f"{settings.hosts},{host}"})
    connect(settings)  # raises BadSettings here, in place of a traceback of each process
    listener = listen(host, port, settings.send_timeout)
    with listener:
        if processes == 1:
            return _serve(settings, listener)
        return _supervise(processes, lambda: _serve(settings, listener))


def listen(host: str, port: int, send_timeout: float) -> socket.socket:
    """Returns a listening socket. Raises BadSettings if the address cannot be used.

    `send_timeout`: seconds within which a client's machine must acknowledge data.
    """
    if not 0 <= port <= 65_535:
        # The resolver would reduce the port modulo 65,536.
        raise BadSettings(f"cannot listen on {host}:{port}: no such port")
    listener = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit the size. The kernel would grow it to megabytes and report room in thirds of it: a slow
        # client would seem to read nothing.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        if sys.platform == "linux":
            # A machine without power closes no connection. The kernel would buffer a slow stream and retransmit it for
            # a quarter of an hour, without a sign that the client is gone.
            timeout_ms = min(int(send_timeout * 1000), 2**31 - 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
        listener.bind(address)
        listener.listen(4096)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that is invalid in DNS
        if listener is not None:
            listener.close()
        reason = error.strerror if isinstance(error, OSError) else None
        raise BadSettings(f"cannot listen on {host}:{port}: {reason or error}") from None
    listener.set_inheritable(True)
    return listener


def create_server(app: ASGIApp, settings: Settings, **options: Any) -> uvicorn.Server:
    """Returns a server for an application of `create_app`; `options` are uvicorn's.

    If the installed uvicorn lacks internals that our server needs, this is uvicorn's own server: watchers take more
    memory, and clients have fewer limits.
    """
    shared: dict[str, Any] = {
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        # These headers change the client's address, which only the access log shows.
        "proxy_headers": settings.access_log,
        "timeout_keep_alive": 30,
        "timeout_graceful_shutdown": 2,
        "server_header": False,
        **options,
    }
    try:
        from readalong.api.http.uvicorn_internals import DetachableHttpProtocol, Server, missing  # noqa: PLC0415  (may fail)

        lacking = [*missing()]
    except ImportError as error:
        lacking = [str(error)]
    if not lacking:
        return Server(uvicorn.Config(app, http=DetachableHttpProtocol, **shared))
    logger.warning(
        "uvicorn %s lacks internals that this version needs (%s): watchers take more memory, requests have fewer "
        "limits, SIGUSR1 logs nothing",
        uvicorn.__version__,
        ", ".join(lacking),
    )
    return uvicorn.Server(uvicorn.Config(app, limit_concurrency=settings.max_connections or None, **shared))


def _serve(settings: Settings, listener: socket.socket) -> int:
    def stop(*_: object) -> None:
        server.should_exit = True

    app = create_app(settings, on_death=stop)
    server = create_server(AccessLog(app) if settings.access_log else app, settings, loop="uvloop", backlog=4096)
    # A signal before uvicorn sets its handlers would be lost. uvicorn raises the signal again after its end.
    for number in ending_signals():
        signal.signal(number, stop)
    host, port = listener.getsockname()[:2]
    logger.info(
        "serving on http://%s:%d, process %d, readalong %s, Redis at %s",
        f"[{host}]" if ":" in host else host,
        port,
        os.getpid(),
        __version__,
        settings.safe_redis_url,
    )
    server.run(sockets=[listener])
    # After the death of a background task the process stopped in order, but failed.
    return 0 if server.started and not app.state.dependencies.supervisor.dead_task else 1


def _supervise(processes: int, serve: Callable[[], int]) -> int:
    """Runs `serve` in forked processes that share the listener, and replaces those that die.

    The processes end when this one does, even by SIGKILL. Returns the exit code.
    """
    children: dict[int, float] = {}
    # No process writes to the pipe: the kernel closes the parent's end when the parent ends, however it ends.
    read_end, write_end = os.pipe()
    stopping = False

    def forward(number: int, _: object) -> None:
        for pid in list(children):
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, number)

    def stop(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = True
        forward(number, frame)

    numbers = ending_signals()
    for number in numbers:
        signal.signal(number, stop)
    signal.signal(REPORT, forward)
    while True:
        while not stopping and len(children) < processes:
            # A signal between the fork and the entry in `children` would miss the child, which would run on.
            signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
            if not stopping:
                pid = os.fork()
                if pid == 0:
                    os.close(write_end)
                    os._exit(_run_child(serve, read_end))
                children[pid] = time.monotonic()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return 0
        start = children.pop(pid)
        if not stopping:
            logger.error("process %d exited with code %d", pid, os.waitstatus_to_exitcode(status))
            if time.monotonic() - start < 1:
                time.sleep(1)  # processes that die at once would be forked in a busy loop


def _run_child(serve: Callable[[], int], read_end: int) -> int:
    ignore_reports()
    numbers = ending_signals()
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)  # the parent's handler would stop the siblings
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    Thread(target=_end_with_parent, args=(read_end,), name="parent", daemon=True).start()
    try:
        return serve()
    except Exception:
        logger.exception("API process failed")
        return 1


def _end_with_parent(read_end: int) -> None:
    """Sends this process SIGTERM when its parent is gone; otherwise it would hold the port for ever."""
    os.read(read_end, 1)
    os.kill(os.getpid(), signal.SIGTERM)
