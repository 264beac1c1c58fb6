"""`/healthz`: the process lives. `/readyz`: Redis answers and a worker is there."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from api.routes.jobs import Used
from api.routes.route import Route, answer_heads
from readalong.errors import StoreUnavailable

router = APIRouter(tags=["health"], route_class=Route)


class Ready(BaseModel):
    redis: bool = Field(description="Whether Redis answers.")
    workers: int = Field(description="Workers that gave a sign of life lately.")


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


@router.get("/readyz", response_model=Ready, responses={503: {"model": Ready, "description": "Not ready."}})
async def readyz(used: Used) -> Response:
    """Redis answers and a worker is there."""
    try:
        workers = await used.index.live_workers(await used.index.now())
    except StoreUnavailable:
        return JSONResponse({"redis": False, "workers": 0}, 503, {"retry-after": "1"})
    return JSONResponse({"redis": True, "workers": workers}, 200 if workers else 503)


answer_heads(router)
