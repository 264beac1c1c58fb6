"""openapi.json: what FastAPI cannot derive of it, since most routes read their requests themselves."""

from __future__ import annotations

import re
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel, RootModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from readalong.api import (
    event_schemas,
    face_schemas,
    operations_schemas,
    problems,
    request_schemas,
    schemas,
    thread_schemas,
)
from readalong.api.problems import json_content, reference

#: Where the components are.
_MODULES: Final = (
    *(schemas, thread_schemas, event_schemas, operations_schemas, request_schemas, face_schemas, problems),
)
_REFERENCE: Final = "#/components/schemas/"
#: What parameters say that a function's signature only names.
_PARAMETERS: Final = {
    "job_id": "The job's id.",
    "thread_id": "The thread's name.",
    "model": "The model's name.",
    "limit": "The most that a page has.",
    "order": "By time of creation.",
}
_TAGS: Final[tuple[tuple[str, str, str | None], ...]] = (
    ("jobs", "Submit a job, watch it from anywhere, cancel it.", None),
    ("threads", "Conversations that the server keeps.", None),
    ("chat", "A plain stream of text, in one call.", None),
    (
        "OpenAI chat completions",
        "OpenAI's API, for its SDKs.",
        "https://platform.openai.com/docs/api-reference/chat",
    ),
    (
        "OpenAI responses",
        "OpenAI's API, for its SDKs.",
        "https://platform.openai.com/docs/api-reference/responses",
    ),
    (
        "OpenAI conversations",
        "OpenAI's API, for its SDKs. A conversation is a thread.",
        "https://platform.openai.com/docs/api-reference/conversations",
    ),
    ("OpenAI models", "OpenAI's API, for its SDKs.", "https://platform.openai.com/docs/api-reference/models"),
    ("AI SDK", "What `useChat` calls.", "https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol"),
    ("AG-UI", "Runs for clients of AG-UI.", "https://docs.ag-ui.com"),
    (
        "Durable Streams",
        "A job's log for clients of Durable Streams.",
        "https://github.com/durable-streams/durable-streams",
    ),
    ("operations", "How everything stands, for operators.", None),
    ("health", "Whether the process works.", None),
)


def parameter(name: str, place: str, description: str, *, required: bool = False, **schema: Any) -> dict[str, Any]:
    """Returns a parameter: a string, if the schema says nothing else."""
    schema = schema if "type" in schema or "anyOf" in schema else {"type": "string", **schema}
    return {"name": name, "in": place, "required": required, "schema": schema, "description": description}


def json_body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Returns the description of a request's body."""
    return {"requestBody": {"required": required, "content": json_content(model)}}


def event_stream(model: type[BaseModel]) -> dict[str, Any]:
    """Returns the content of a response that is a stream: a text, in which each `data` is this component's JSON."""
    media = "text/event-stream"
    return {media: {"schema": {"type": "string", "contentMediaType": media, "contentSchema": reference(model)}}}


IDEMPOTENCY_KEY: Final = parameter(
    "Idempotency-Key", "header", "The same key and body: the same job.", minLength=1, maxLength=255
)
PREFER: Final = parameter(
    "Prefer",
    "header",
    "`wait=30`: wait so many seconds for the job's end, 50 at most; `Preference-Applied` says how many.",
)
INCLUDE: Final = parameter(
    "include",
    "query",
    "`request`: with the request, where it is kept. `timeline`: with `timeline`, `progress` and `cost`. Both: twice.",
    enum=["request", "timeline"],
)
COUNT: Final = parameter(
    "count",
    "query",
    "`false`: the stream does not count as a watcher of a job that ends with its watchers.",
    type="boolean",
    default=True,
)
READERS: Final = parameter(
    "readers",
    "query",
    "`true`: events `readers`, without an id, say how many such streams of the job are open.",
    type="boolean",
    default=False,
)
JOB_ID: Final = parameter("job_id", "path", "The job's id.", required=True)
CHAT_REQUEST: Final = json_body(request_schemas.ChatRequest)


def operation_id(route: APIRoute) -> str:
    """Returns a route's name, which reads as a function's."""
    return route.name


class _Components(GenerateJsonSchema):
    """Schemas in the order of their fields, without the titles that only repeat a field's name, and without defaults of
    null: by some generators a field with a default is one that each request has."""

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        return value

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        if made.get("default", "") is None:
            del made["default"]
        return made


class DescribedAPI(FastAPI):
    """An application whose description has a named component for each body, and nothing of FastAPI's own errors."""

    def openapi(self) -> dict[str, Any]:
        """Returns openapi.json, made once."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        document = super().openapi()
        operations = [each for path in document["paths"].values() for each in path.values()]
        for operation in operations:
            _finish(operation)
        found = document["components"]["schemas"] | _components()
        named = sorted(_reachable(document["paths"], found))
        document["components"]["schemas"] = {name: found[name] for name in named}
        _unwrap(document)
        document["tags"] = [
            {"name": name, "description": text, **({"externalDocs": {"url": url}} if url else {})}
            for name, text, url in _TAGS
        ]
        return document


def _components() -> dict[str, Any]:
    """Returns the schemas of all our models, by their names."""
    models = {
        each: None
        for module in _MODULES
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, BaseModel) and each not in (BaseModel, RootModel)
    }
    _, made = models_json_schema(
        [(model, "validation") for model in models],
        ref_template=f"{_REFERENCE}{{model}}",
        schema_generator=_Components,
    )
    components: dict[str, Any] = made["$defs"]
    return components


def _reachable(node: Any, components: dict[str, Any]) -> set[str]:
    """Returns the names of the components that a part of the document refers to, also through others."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        match waiting.pop():
            case list(items):
                waiting += items
            case dict(items):
                name = str(items.get("$ref", "")).removeprefix(_REFERENCE)
                if name in components and name not in found:
                    found.add(name)
                    waiting.append(components[name])
                waiting += items.values()
    return found


def _finish(operation: dict[str, Any]) -> None:
    """Gives an operation its summary, from the first sentence of its description, and takes away the answers that
    FastAPI only supposes."""
    first, _, _ = operation.get("description", "").partition("\n")
    sentence = re.match(r"(.+?)\.(?:\s|$)", first)
    operation["summary"] = first if sentence is None else sentence[1]
    for status, response in list(operation["responses"].items()):
        content = response.get("content", {})
        if status == "422" and "HTTPValidationError" in str(content.get("application/json")):
            del content["application/json"]
            if not content:
                del operation["responses"][status]
    operation["responses"] = dict(sorted(operation["responses"].items()))
    for each in operation.get("parameters", ()):
        each.setdefault("description", _PARAMETERS.get(each["name"], ""))


def _unwrap(node: Any) -> None:
    """Makes a line of each paragraph of the descriptions: docstrings have line breaks inside."""
    waiting = [node]
    while waiting:
        each = waiting.pop()
        waiting += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        if isinstance(each, dict) and isinstance(text := each.get("description"), str):
            each["description"] = re.sub(r"(?<!\n)\n(?!\n)", " ", text)
