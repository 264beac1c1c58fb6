"""`/healthz`: the process lives. `/readyz`: what is submitted here is kept, and run."""

from __future__ import annotations

from typing import Any, Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from readalong.api.dependencies import Dependencies
from readalong.api.problems import responses
from readalong.api.routes.jobs import Used
from readalong.api.routes.route import Route, answer_heads
from readalong.store.health import Pulse, State

router = APIRouter(tags=["health"], route_class=Route)


class Ready(BaseModel):
    ready: bool
    reason: str | None = Field(description="Why it is not ready, for people.")
    redis: State = Field(description="`ok`: it answers and takes writes.")
    hub: Literal["ok", "deaf"] = Field(description="`deaf`: this process does not hear what Redis publishes.")
    queued: int | None = Field(description="Jobs that wait; null while Redis does not tell.")
    oldest_wait_seconds: float | None = Field(description="How long the first of them has waited; null if none waits.")
    workers: int | None = Field(description="Workers that gave a sign of life lately.")
    workers_refused: int | None = Field(description="Those of them whose model refuses them.")
    maxmemory_policy: str | None = Field(description="Redis' own, where a full Redis drops jobs by it; else null.")


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


#: Its own answer, or that of a process which has too many connections.
_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {
        **responses(503)[503],
        "model": Ready,
        "description": "Not ready.",
        "content": {"application/json": {}, **responses(503)[503]["content"]},
    }
}


@router.get("/readyz", response_model=Ready, responses=_NOT_READY)
async def readyz(used: Used) -> Response:
    """A submit would be kept, and there is a worker to run it."""
    pulse = await used.probe.look()
    reason = _reason(used, pulse)
    if pulse.error is None:
        await used.eviction.look_again()
    shown = {
        "ready": reason is None,
        "reason": reason,
        "redis": pulse.redis,
        "hub": "deaf" if used.hub.deaf else "ok",
        "queued": pulse.queued,
        "oldest_wait_seconds": pulse.oldest_wait,
        "workers": pulse.workers,
        "workers_refused": pulse.refused,
        "maxmemory_policy": used.eviction.policy,
    }
    return JSONResponse(shown) if reason is None else JSONResponse(shown, 503, {"retry-after": "1"})


def _reason(used: Dependencies, pulse: Pulse) -> str | None:
    if used.supervisor.dead:
        return f"The task {used.supervisor.dead!r} of this process has ended."
    if pulse.error is not None:
        return f"{pulse.error.message}."
    if used.hub.deaf:
        return "This process does not hear what Redis publishes."
    if not pulse.workers:
        return "There is no worker."
    return None


answer_heads(router)
