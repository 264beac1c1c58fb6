"""uvicorn around the application: processes, signals, and the end of open streams."""

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

#: Bytes that the kernel keeps of a response which its client has not read; Linux takes twice as many.
_SEND_BUFFER: Final = 131_072
#: A name, or an address of IPv4, to listen on.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def run(settings: Settings, *, host: str, port: int, processes: int = 1) -> int:
    """Serves until SIGTERM, SIGINT or SIGHUP; answers the exit code.

    Raises BadSettings if its address, or that of Redis, cannot be used.
    """
    ignore_reports()
    if _NAME.fullmatch(host):  # clients will use the name that it was told to listen on
        settings = settings.model_copy(update={"hosts": f"{settings.hosts},{host}"})
    connect(settings)  # to nothing yet: here it is one clear line, and not each process' traceback
    listener = listen(host, port, settings.send_timeout)
    with listener:
        if processes == 1:
            return _serve(settings, listener)
        return _supervise(processes, lambda: _serve(settings, listener))


def listen(host: str, port: int, send_timeout: float) -> socket.socket:
    """A socket on which to serve. `send_timeout`: seconds in which a client's machine must have taken what was sent to
    it. Raises BadSettings if the address cannot be used."""
    if not 0 <= port <= 65_535:
        # The resolver would take it modulo 65,536.
        raise BadSettings(f"cannot listen on {host}:{port}: no such port")
    listener = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Its connections have it too. The kernel would let each grow to megabytes, and tell us of room only in thirds:
        # a slow client would seem to take nothing.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        if sys.platform == "linux":
            # A machine that is switched off closes nothing. Of a stream that says little the kernel would hold all, so
            # that we could not see that nobody takes it, and try to send it for a quarter of an hour.
            most_ms = min(int(send_timeout * 1000), 2**31 - 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, most_ms)
        listener.bind(address)
        listener.listen(4096)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no DNS could hold
        if listener is not None:
            listener.close()
        reason = error.strerror if isinstance(error, OSError) else None
        raise BadSettings(f"cannot listen on {host}:{port}: {reason or error}") from None
    listener.set_inheritable(True)
    return listener


def server_of(app: ASGIApp, settings: Settings, **options: Any) -> uvicorn.Server:
    """A server for an application of ours; `options` are uvicorn's. Our own, unless uvicorn's inside has changed: then
    uvicorn's, whose watchers take more memory and whose clients have fewer limits."""
    shared: dict[str, Any] = {
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        # They change the client's address, which only the access log shows.
        "proxy_headers": settings.access_log,
        "timeout_keep_alive": 30,
        "timeout_graceful_shutdown": 2,
        "server_header": False,
        **options,
    }
    try:
        from readalong.api.http.uvicorn_inside import DetachableHttpProtocol, Server, missing  # noqa: PLC0415  (a name that it needs may be gone)

        gone = [*missing()]
    except ImportError as error:
        gone = [str(error)]
    if not gone:
        return Server(uvicorn.Config(app, http=DetachableHttpProtocol, **shared))
    logger.warning(
        "uvicorn %s is not the one that this version knows (%s): a watcher takes more memory, requests have fewer "
        "limits, and SIGUSR1 logs nothing",
        uvicorn.__version__,
        ", ".join(gone),
    )
    return uvicorn.Server(uvicorn.Config(app, limit_concurrency=settings.max_connections or None, **shared))


def _serve(settings: Settings, listener: socket.socket) -> int:
    def stop(*_: object) -> None:
        server.should_exit = True

    app = create_app(settings, on_death=stop)
    server = server_of(AccessLog(app) if settings.access_log else app, settings, loop="uvloop", backlog=4096)
    # Before uvicorn sets its own handlers a signal must not be lost; it raises it once more when it has ended.
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
    # A background task that has ended: the process stopped as if it were told to, but has failed.
    return 0 if server.started and not app.state.services.supervisor.dead else 1


def _supervise(processes: int, serve: Callable[[], int]) -> int:
    """Runs `serve` in forked processes that share the listener, and replaces those that die. They end with us."""
    children: dict[int, float] = {}
    # Nobody writes; its end is closed when we are gone, however we went.
    parent_gone, parent_here = os.pipe()
    stopping = False

    def pass_on(number: int, _: object) -> None:
        for pid in list(children):
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, number)

    def stop(number: int, frame: object) -> None:
        nonlocal stopping
        stopping = True
        pass_on(number, frame)

    asked = ending_signals()
    for number in asked:
        signal.signal(number, stop)
    signal.signal(REPORT, pass_on)
    while True:
        while not stopping and len(children) < processes:
            # Blocked, a signal finds the child in the list or not born. It would outlive us otherwise.
            signal.pthread_sigmask(signal.SIG_BLOCK, asked)
            if not stopping:
                pid = os.fork()
                if pid == 0:
                    os.close(parent_here)
                    os._exit(_in_child(serve, parent_gone))
                children[pid] = time.monotonic()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, asked)
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return 0
        began = children.pop(pid)
        if not stopping:
            logger.error("process %d ended with %d", pid, os.waitstatus_to_exitcode(status))
            if time.monotonic() - began < 1:
                time.sleep(1)  # a process that dies at once must not spin


def _in_child(serve: Callable[[], int], parent_gone: int) -> int:
    ignore_reports()
    asked = ending_signals()
    for number in asked:
        signal.signal(number, signal.SIG_DFL)  # the parent's would stop its siblings
    signal.pthread_sigmask(signal.SIG_UNBLOCK, asked)
    Thread(target=_end_with_parent, args=(parent_gone,), name="parent", daemon=True).start()
    try:
        return serve()
    except Exception:
        logger.exception("an API process broke")
        return 1


def _end_with_parent(parent_gone: int) -> None:
    """Ends this process as SIGTERM does when its parent was killed: it would hold the port, and nobody would know."""
    os.read(parent_gone, 1)
    os.kill(os.getpid(), signal.SIGTERM)
