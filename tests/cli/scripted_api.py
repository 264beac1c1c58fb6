"""A real HTTP server on port 0 that plays scripted responses and records requests."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from readalong.core.sse import frame

Act = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedApi

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: the output belongs to the command."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.requests.append((self.command, self.path, dict(self.headers.items()), body))
        self.close_connection = True
        act = self.server.routes.get(f"{self.command} {self.path.partition('?')[0]}")
        (act or self.server.acts.popleft())(self)


class ScriptedApi(ThreadingHTTPServer):
    """`routes` are played for their method and path, such as `GET /v1/jobs`. `acts` are played in order, one for each
    other request. `requests` are (method, path, headers, body).
    """

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.acts: deque[Act] = deque()
        self.routes: dict[str, Act] = {}
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores the error of a client that has gone."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def asked(self, method: str = "GET") -> list[str]:
        """Returns the paths of the requests, with their queries."""
        return [path for called, path, _, _ in self.requests if called == method]

    def positions(self) -> list[str | None]:
        """Returns the position of each watch."""
        return [headers.get("last-event-id") for _, path, headers, _ in self.requests if path.endswith("/events")]


@contextmanager
def scripted_api() -> Iterator[ScriptedApi]:
    with ScriptedApi() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def event(seq: int, kind: str, *, epoch: str = "", **fields: Any) -> bytes:
    return frame(orjson.dumps({"type": kind, **fields}), event=kind, id=f"{seq}-{epoch}" if epoch else str(seq))


def text(seq: int, content: str, **more: Any) -> bytes:
    return event(seq, "content", content=content, **more)


def done(seq: int, **more: Any) -> bytes:
    metrics = {"time_to_first_token": 0.52, "tokens_per_second": 31.25, "total_seconds": 5.14, "chunk_count": 9}
    fields = {"finish_reason": "stop", "content": "", "usage": {"completion_tokens": 160}, "metrics": metrics}
    return event(seq, "done", **{**fields, **more})


def stream(*frames: bytes, drop: bool = False, hold: threading.Event | None = None) -> Act:
    """Sends the frames, then ends the response, or, with `drop`, breaks the connection in mid-response.

    `hold` keeps the connection open until it is set.
    """

    def act(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream; charset=utf-8")
        handler.send_header("transfer-encoding", "chunked")
        handler.send_header("connection", "close")
        handler.end_headers()
        for piece in frames:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if hold is not None:
            hold.wait(200)
        if not drop:
            handler.wfile.write(b"0\r\n\r\n")

    return act


def change(kind: str, **fields: Any) -> bytes:
    """An event of `/v1/changes`, which has no id."""
    return frame(orjson.dumps(fields), event=kind)


def answer(status: int, body: dict[str, Any] | None = None, **headers: str) -> Act:
    def act(handler: Handler) -> None:
        payload = b"" if body is None else orjson.dumps(body)
        handler.send_response(status)
        handler.send_header("content-type", "application/json" if status < 400 else "application/problem+json")
        handler.send_header("content-length", str(len(payload)))
        # Without this header the client's next request may be sent into the end of this connection.
        handler.send_header("connection", "close")
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(payload)

    return act
