"""What FastAPI cannot derive for openapi.json, since most routes read their requests themselves."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

from readalong.api.problems import MEDIA_TYPE, Problem
from readalong.api.submission.chat_request import ChatRequest

_REF: Final = "#/components/schemas/{model}"

IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The same key and body: the same job.",
}
PREFER: Final = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "`wait=30`: wait so many seconds for the job's end, 50 at most; `Preference-Applied` says how many.",
}
INCLUDE: Final = {
    "name": "include",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "enum": ["request"]},
    "description": "`request`: with the request, where it is kept.",
}
JOB_ID: Final = {"name": "job_id", "in": "path", "required": True, "schema": {"type": "string", "title": "Job Id"}}
CHAT_REQUEST: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": ChatRequest.model_json_schema(ref_template=_REF)}},
    }
}
#: The header of the response to a submit.
LOCATION: Final = {
    "Location": {"description": "The path of the job.", "required": True, "schema": {"type": "string"}},
}

#: FastAPI's own error, and a part of it. The API sends problems instead.
_NEVER_SENT: Final = ("HTTPValidationError", "ValidationError")


def customize_openapi(app: FastAPI) -> None:
    """Adds the schema of problems, and removes FastAPI's validation error from each operation."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            schemas = schema["components"]["schemas"]
            schemas[Problem.__name__] = Problem.model_json_schema(ref_template=_REF)
            for name in _NEVER_SENT:
                schemas.pop(name, None)
            for operation in (each for path in schema["paths"].values() for each in path.values()):
                operation["responses"] = {
                    status: response
                    for status, response in sorted(operation["responses"].items())
                    if status != "422" or MEDIA_TYPE in response["content"]
                }
        return app.openapi_schema or generate()

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents
