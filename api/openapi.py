"""What FastAPI cannot derive for openapi.json, since most routes read their requests themselves."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

from readalong.api.problems import MEDIA_TYPE, OpenAIErrorBody, OpenAIErrorObject, Problem
from readalong.api.submission.chat_request import ChatRequest
from readalong.core.options import OPTION_FIELDS

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
    "schema": {"type": "string", "enum": ["request", "timeline"]},
    "description": "`request`: with the request, where it is kept. `timeline`: with `timeline`, `progress` and `cost`. "
    "Both: twice.",
}
COUNT: Final = {
    "name": "count",
    "in": "query",
    "required": False,
    "schema": {"type": "boolean", "default": True},
    "description": "`false`: the stream does not count as a watcher of a job that ends with its watchers.",
}
READERS: Final = {
    "name": "readers",
    "in": "query",
    "required": False,
    "schema": {"type": "boolean", "default": False},
    "description": "`true`: events `readers`, without an id, say how many such streams of the job are open.",
}
JOB_ID: Final = {"name": "job_id", "in": "path", "required": True, "schema": {"type": "string", "title": "Job Id"}}
CHAT_REQUEST: Final = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": ChatRequest.model_json_schema(ref_template=_REF)}},
    }
}


def _completion_schema() -> dict[str, Any]:
    """Returns the schema of OpenAI's request, with our options in one field."""
    schema = ChatRequest.model_json_schema(ref_template=_REF)
    options = {name: schema["properties"].pop(name) for name in sorted(OPTION_FIELDS)}
    schema["title"] = "ChatCompletionRequest"
    schema["description"] = "OpenAI's parameters; those that are not listed here pass through to the model unchanged."
    schema["properties"]["stream"] |= {"description": "The answer comes in chunks."}
    schema["properties"]["readalong"] = {
        "anyOf": [{"type": "object", "properties": options, "additionalProperties": False}, {"type": "null"}],
        "description": "Options of this API's own. The model does not get them.",
    }
    return schema


CHAT_COMPLETION_REQUEST: Final = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": _completion_schema()}}}
}
METADATA_UPDATE: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"metadata": {"anyOf": [{"type": "object"}, {"type": "null"}]}},
                    "required": ["metadata"],
                    "additionalProperties": False,
                }
            }
        },
    }
}
#: A body whose fields OpenAI describes.
OPENAI_JSON: Final[dict[str, Any]] = {"application/json": {"schema": {"type": "object"}}}
#: The header of the response to a submit.
LOCATION: Final = {
    "Location": {"description": "The path of the job.", "required": True, "schema": {"type": "string"}},
}

_STRING: Final = {"schema": {"type": "string"}}
#: Headers of the response that names a job in OpenAI's API.
OPENAI_JOB_HEADERS: Final[dict[str, Any]] = {
    **LOCATION,
    "X-Job-Id": {"description": "The job's id.", "required": True, **_STRING},
    "Link": {"description": "The paths of the job's events and of its cancel.", **_STRING},
    "X-Request-Id": {"description": "The request's name.", **_STRING},
}

#: FastAPI's own error, and a part of it. The API sends problems instead.
_NEVER_SENT: Final = ("HTTPValidationError", "ValidationError")


class DescribedAPI(FastAPI):
    """An application whose description has the schema of problems, and no validation error of FastAPI's own."""

    def openapi(self) -> dict[str, Any]:
        """Returns openapi.json, made once."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        schema = super().openapi()
        schemas = schema["components"]["schemas"]
        for model in (Problem, OpenAIErrorBody, OpenAIErrorObject):
            schemas[model.__name__] = model.model_json_schema(ref_template=_REF)
            schemas[model.__name__].pop("$defs", None)
        for name in _NEVER_SENT:
            schemas.pop(name, None)
        for operation in (each for path in schema["paths"].values() for each in path.values()):
            operation["responses"] = {
                status: response
                for status, response in sorted(operation["responses"].items())
                if status != "422" or MEDIA_TYPE in response["content"]
            }
        return schema
