"""Logs each request, with the id of its job."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


class AccessLog:
    """Around the application. A line is written when a response begins: a stream's may last for hours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                _note(scope, message, perf_counter() - began)
            await send(message)

        await self._app(scope, receive, noted)


def _note(scope: Scope, head: Message, seconds: float) -> None:
    # As it came: decoded, a path may hold a line break. Without its query, which may hold what is not ours to keep.
    path = scope["raw_path"].decode("ascii", "replace")
    client = scope["client"][0] if scope.get("client") else None
    job = _job(scope, head)
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


def _job(scope: Scope, head: Message) -> str | None:
    """The id in the path, or in what a submit answers."""
    if (job_id := scope.get("path_params", {}).get("job_id")) is not None:
        return str(job_id) if str(job_id).isprintable() else None
    location: bytes = dict(head.get("headers", ())).get(b"location", b"")
    return location.rpartition(b"/")[2].decode("ascii", "replace") or None
