"""`/healthz`: the process is alive. `/readyz`: a submit would be stored, and a worker is there to run the job."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from readalong.api.dependencies import Dependencies, Deps
from readalong.api.problems import describe_problems
from readalong.api.routes.route import Route, add_head_routes
from readalong.api.schemas import Alive, Ready
from readalong.store.health import RedisHealth

router = APIRouter(tags=["health"], route_class=Route)


@router.get("/healthz")
async def get_health() -> Alive:
    """Returns 200 while the process is alive."""
    return Alive(status="ok")


#: The response of /readyz, or that of a process with too many connections.
_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {
        **describe_problems(503)[503],
        "model": Ready,
        "description": "Not ready.",
        "content": {"application/json": {}, **describe_problems(503)[503]["content"]},
    }
}


@router.get("/readyz", response_model=Ready, responses=_NOT_READY)
async def get_readiness(deps: Deps) -> Response:
    """Returns 200 if a submit would be stored and a worker is there to run the job, else 503."""
    health = await deps.probe.look()
    reason = _reason(deps, health)
    if health.error is None:
        await deps.eviction.look_again()
    body = {
        "ready": reason is None,
        "reason": reason,
        "redis": health.redis,
        "hub": "deaf" if deps.hub.deaf else "ok",
        "queued": health.queued,
        "oldest_wait_seconds": health.oldest_wait,
        "workers": health.workers,
        "workers_refused": health.refused,
        "maxmemory_policy": deps.eviction.policy,
    }
    return JSONResponse(body) if reason is None else JSONResponse(body, 503, {"retry-after": "1"})


def _reason(deps: Dependencies, health: RedisHealth) -> str | None:
    if deps.supervisor.dead_task:
        return f"Background task {deps.supervisor.dead_task!r} has ended."
    if health.error is not None:
        return f"{health.error.message}."
    if deps.hub.deaf:
        return "This process receives no messages from Redis."
    if not health.workers:
        return "No worker is alive."
    return None


add_head_routes(router)
