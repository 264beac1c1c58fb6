"""Logs each request, with the id of its job."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


class AccessLog:
    """ASGI middleware that logs a line when a response begins; a stream may last for hours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = perf_counter()

        async def logging_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                _log(scope, message, perf_counter() - start)
            await send(message)

        await self._app(scope, receive, logging_send)


def _log(scope: Scope, head: Message, seconds: float) -> None:
    # The raw path: a decoded one may hold a line break. Without the query, which may hold secrets.
    path = scope["raw_path"].decode("ascii", "replace")
    client = scope["client"][0] if scope.get("client") else None
    job = _job_id(scope, head)
    fields: dict[str, Any] = {
        "method": scope["method"],
        "path": path,
        "status": head["status"],
        "seconds": round(seconds, 4),
        "client": client,
    }
    if job is not None:
        fields["job"] = job
    logger.info(
        "%s %s %s: %d, %.3f s%s",
        client,
        scope["method"],
        path,
        head["status"],
        seconds,
        "" if job is None else f", job {job}",
        extra=fields,
    )


def _job_id(scope: Scope, head: Message) -> str | None:
    """Returns the id in the path, or in the Location of a submit's response."""
    if (job_id := scope.get("path_params", {}).get("job_id")) is not None:
        return str(job_id) if str(job_id).isprintable() else None
    location: bytes = dict(head.get("headers", ())).get(b"location", b"")
    return location.rpartition(b"/")[2].decode("ascii", "replace") or None
