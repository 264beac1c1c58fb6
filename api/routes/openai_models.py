"""`/v1/models`: the models that the operator lists."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from readalong.api.dependencies import dependencies_of
from readalong.api.face_schemas import Model, ModelList
from readalong.api.problems import describe_openai_errors
from readalong.api.routes.route import Route, add_head_routes
from readalong.core.errors import ModelNotListed

router = APIRouter(prefix="/v1/models", tags=["OpenAI models"], route_class=Route)


@router.get("", response_model=ModelList, responses=describe_openai_errors())
async def list_models(request: Request) -> Response:
    """Lists the models of `READALONG_MODELS`; without it, the one of a job that names none."""
    deps = dependencies_of(request)
    await deps.policy.list(request.headers)
    return _json({"object": "list", "data": [_model(name) for name in deps.settings.listed_models]})


@router.get("/{model:path}", response_model=Model, responses=describe_openai_errors(404), operation_id="get_model")
async def retrieve_model(request: Request, model: str) -> Response:
    """Returns a model of the list."""
    deps = dependencies_of(request)
    await deps.policy.list(request.headers)
    if model not in deps.settings.listed_models:
        raise ModelNotListed(f"The model '{model}' does not exist.")
    return _json(_model(model))


def _model(name: str) -> dict[str, Any]:
    # When a model was made is not known here.
    return {"id": name, "object": "model", "created": 0, "owned_by": "readalong"}


def _json(value: dict[str, Any]) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


add_head_routes(router)
