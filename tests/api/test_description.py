"""openapi.json: valid, whole, named for generators, and the same as docs/protocol.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
from schemathesis.specs.openapi.definitions import OPENAPI_31

from readalong.api.face_schemas import StreamMessages
from readalong.api.problems import ProblemCode
from readalong.api.request_schemas import JobOptions, TurnOptions
from readalong.api.schemas import JobErrorCode
from readalong.core.events import TYPES
from readalong.core.options import OPTION_FIELDS
from tests.support.description import COMPONENTS, DOCUMENT

OPERATIONS: Final[dict[tuple[str, str], dict[str, Any]]] = {
    (path, method): operation for path, item in DOCUMENT["paths"].items() for method, operation in item.items()
}
PROTOCOL: Final = (Path(__file__).parents[2] / "docs/protocol.md").read_text("utf-8")
EXAMPLES: Final = [(name, example) for name, schema in COMPONENTS.items() for example in schema.get("examples", ())]

#: The keywords of JSON Schema that the components use, beside those of annotations.
KEYWORDS: Final = frozenset(
    {
        *("$ref", "additionalProperties", "anyOf", "const", "default", "description", "discriminator", "enum"),
        *("examples", "exclusiveMinimum", "items", "maxItems", "maxLength", "maximum", "minItems", "minLength"),
        *("minimum", "oneOf", "properties", "required", "title", "type"),
    }
)


def nodes(node: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each object of a part of the document, with the name that it has in the one around it."""
    if isinstance(node, dict):
        yield name, node
        for key, value in node.items():
            yield from nodes(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from nodes(value, name)


def schemas_in(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields a schema and those inside, but not the references'."""
    yield schema
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    for each in (*inner, schema.get("items"), schema.get("additionalProperties")):
        if isinstance(each, dict):
            yield from schemas_in(each)


def references(node: Any) -> set[str]:
    return {each["$ref"] for _, each in nodes(node) if isinstance(each.get("$ref"), str)}


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]})


def test_the_document_is_valid_openapi() -> None:
    Draft202012Validator(OPENAPI_31).validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1.")
    for name, component in COMPONENTS.items():
        Draft202012Validator.check_schema(component)
        unknown = {keyword for each in schemas_in(component) for keyword in each} - KEYWORDS
        assert not unknown, (name, "a misspelt keyword limits nothing")


def test_every_reference_leads_to_a_component_and_every_component_is_used() -> None:
    named = references(DOCUMENT)
    assert named == {f"#/components/schemas/{name}" for name in COMPONENTS}


def test_operations_have_names_of_functions_a_summary_and_a_known_tag() -> None:
    """Generators make functions, classes and files of these."""
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(ids) == len(set(ids))
    assert [name for name in ids if not re.fullmatch(r"[a-z]+(_[a-z]+)+", name)] == []
    known = [tag["name"] for tag in DOCUMENT["tags"]]
    used = [tag for operation in OPERATIONS.values() for tag in operation["tags"]]
    assert set(used) == set(known)
    assert len(used) == len(ids)
    for operation in OPERATIONS.values():
        assert operation["description"].startswith(operation["summary"]), operation["operationId"]
        assert "\n" not in operation["summary"]
        assert len(operation["summary"]) <= 100


def test_every_parameter_is_described_and_every_part_of_a_path_is_one() -> None:
    for (path, _), operation in OPERATIONS.items():
        parameters = operation.get("parameters", [])
        in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", path))
        silent = [each["name"] for each in parameters if not each.get("description")]
        assert silent == [], operation["operationId"]


def test_no_body_is_an_object_without_a_name() -> None:
    """A generator makes `Response200` and `Type0` of such a one."""
    for operation in OPERATIONS.values():
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in (each for body in bodies for each in body.get("content", {}).values()):
            schema = content["schema"]
            assert schema.keys() == {"$ref"} or schema["type"] == "string", operation["operationId"]
    answers = [operation["responses"] for operation in OPERATIONS.values()]
    waiting, seen = references(answers), set[str]()
    while waiting:
        seen |= waiting
        waiting = {ref for name in waiting for ref in references(COMPONENTS[name.rpartition("/")[2]])} - seen
    for name in seen:
        component = COMPONENTS[name.rpartition("/")[2]]
        inner = [each for each in schemas_in(component) if each is not component and each.get("type") == "object"]
        # A map of numbers needs no name.
        assert [each for each in inner if not isinstance(each.get("additionalProperties"), dict)] == [], name


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_an_example_is_valid(name: str, example: Any) -> None:
    validator(name).validate(example)


def test_every_body_and_every_event_has_an_example() -> None:
    bodies = {
        each["$ref"].rpartition("/")[2]
        for operation in OPERATIONS.values()
        for body in (operation.get("requestBody", {}), *operation["responses"].values())
        for _, each in nodes(body)
        if "$ref" in each
    }
    wanted = {name for name in bodies if "anyOf" not in COMPONENTS[name] and "oneOf" not in COMPONENTS[name]}
    open_ones = {name for name in wanted if COMPONENTS[name].get("properties") is None} - {StreamMessages.__name__}
    events = {each.rpartition("/")[2] for each in COMPONENTS["JobEvent"]["discriminator"]["mapping"].values()}
    without = {name for name in (wanted - open_ones) | events if not COMPONENTS[name].get("examples")}
    assert without == set()


def test_every_type_of_event_has_a_component() -> None:
    mapping = COMPONENTS["JobEvent"]["discriminator"]["mapping"]
    assert mapping.keys() == TYPES | {"readers"}
    assert {each["$ref"] for each in COMPONENTS["JobEvent"]["oneOf"]} == set(mapping.values())
    for kind, ref in mapping.items():
        component = COMPONENTS[ref.rpartition("/")[2]]
        assert component["properties"]["type"]["const"] == kind
        assert "type" in component["required"]


def documented(title: str, column: int) -> set[str]:
    """Returns the codes in a column of the first table below a heading of docs/protocol.md."""
    section = re.split(rf"^#+ {title}$", PROTOCOL, flags=re.MULTILINE)[1]
    table = section[section.index("\n| ") :].split("\n\n")[0]
    rows = [line.split("|") for line in table.strip().splitlines()[2:]]
    return {code for row in rows for code in re.findall(r"`(\w+)`", row[column])}


def test_the_codes_are_those_of_the_protocol() -> None:
    assert set(ProblemCode) == documented("Errors", 2)
    assert set(JobErrorCode) == documented("Codes of a failed job", 1)


def test_the_options_are_those_that_a_submit_has() -> None:
    assert set(JobOptions.model_fields) == OPTION_FIELDS
    assert set(TurnOptions.model_fields) == OPTION_FIELDS | {"thread_policy"}


#: The statuses that any call may get: for a malformed head, for too many connections, and for an unexpected error.
ANYWHERE = {"400", "500", "501", "503"}
#: Those that any call but those of health may get: by a policy, and by a foreign name of the host.
GUARDED = {"401", "403", "421"}
SUBMIT = {"409", "410", "413", "415", "422", "429"}
BODY = {"413", "415"}
ROUTES: dict[tuple[str, str], set[str]] = {
    ("/v1/jobs", "post"): {"200", "202", *SUBMIT},
    ("/v1/jobs", "get"): {"200", "422"},
    ("/v1/jobs/{job_id}", "get"): {"200", "404", "410", "422"},
    ("/v1/jobs/{job_id}", "delete"): {"204", "404"},
    ("/v1/jobs/{job_id}/events", "get"): {"200", "204", "404", "410", "422"},
    ("/v1/jobs/{job_id}/retry", "post"): {"202", "404", "409", "410", "422", "429"},
    ("/v1/jobs/{job_id}/cancel", "post"): {"202", "404", "410"},
    ("/v1/jobs/{job_id}/stream", "get"): {"200", "204", "304", "404", "410"},
    ("/v1/jobs/{job_id}/stream", "head"): {"200", "404", "410"},
    ("/v1/threads/{thread_id}", "get"): {"200", "404", "422"},
    ("/v1/threads/{thread_id}", "delete"): {"204", "404", "422"},
    ("/v1/threads/{thread_id}/running", "get"): {"200", "204", "404", "422"},
    ("/v1/threads/{thread_id}/jobs", "get"): {"200", "422"},
    ("/chat/stream", "post"): {"200", *SUBMIT},
    ("/v1/status", "get"): {"200"},
    ("/v1/stats", "get"): {"200", "422"},
    ("/v1/changes", "get"): {"200", "422"},
}
HEALTH: dict[tuple[str, str], set[str]] = {("/healthz", "get"): {"200"}, ("/readyz", "get"): {"200"}}
#: Those whose errors have OpenAI's form.
OPENAI: dict[tuple[str, str], set[str]] = {
    ("/v1/chat/completions", "post"): {"200", "404", "409", *BODY, "429", "502", "504"},
    ("/v1/chat/completions", "get"): {"200"},
    ("/v1/chat/completions/{completion_id}", "get"): {"200", "404"},
    ("/v1/chat/completions/{completion_id}", "post"): {"200", "404", *BODY},
    ("/v1/chat/completions/{completion_id}", "delete"): {"200", "404"},
    ("/v1/chat/completions/{completion_id}/messages", "get"): {"200", "404"},
    ("/v1/models", "get"): {"200"},
    ("/v1/models/{model}", "get"): {"200", "404"},
    ("/v1/responses", "post"): {"200", "404", "409", *BODY, "429"},
    ("/v1/responses/{response_id}", "get"): {"200", "404"},
    ("/v1/responses/{response_id}", "delete"): {"200", "404"},
    ("/v1/responses/{response_id}/cancel", "post"): {"200", "404"},
    ("/v1/responses/{response_id}/input_items", "get"): {"200", "404"},
    ("/v1/conversations", "post"): {"200", *BODY},
    ("/v1/conversations/{conversation_id}", "get"): {"200", "404"},
    ("/v1/conversations/{conversation_id}", "post"): {"200", "404", *BODY},
    ("/v1/conversations/{conversation_id}", "delete"): {"200", "404"},
    ("/v1/conversations/{conversation_id}/items", "post"): {"200", "404", *BODY},
    ("/v1/conversations/{conversation_id}/items", "get"): {"200", "404"},
    ("/v1/conversations/{conversation_id}/items/{item_id}", "get"): {"200", "404"},
    ("/v1/conversations/{conversation_id}/items/{item_id}", "delete"): {"200", "404"},
}
#: Those whose errors are a text.
AI_SDK: dict[tuple[str, str], set[str]] = {
    ("/api/chat", "post"): {"200", *SUBMIT},
    ("/api/chat/{chat_id}/stream", "get"): {"200", "204", "404", "422"},
    ("/api/chat/{chat_id}/stop", "post"): {"200", *BODY, "422"},
}
#: Those whose errors have the fields of AG-UI's.
AG_UI: dict[tuple[str, str], set[str]] = {
    ("/agui", "post"): {"200", *SUBMIT},
    ("/agui/runs/{run_id}", "get"): {"200", "204", "404", "410"},
}
PROBLEM, JSON, TEXT = "application/problem+json", "application/json", "text/plain"


@pytest.mark.parametrize(
    ("routes", "kind", "schema"),
    [
        (ROUTES, PROBLEM, "Problem"),
        (HEALTH, PROBLEM, "Problem"),
        (OPENAI, JSON, "OpenAIError"),
        (AI_SDK, TEXT, None),
        (AG_UI, JSON, "AgUiError"),
    ],
    ids=["native", "health", "OpenAI", "AI SDK", "AG-UI"],
)
def test_each_route_has_each_of_its_answers_in_the_form_of_its_clients(
    routes: dict[tuple[str, str], set[str]], kind: str, schema: str | None
) -> None:
    for route, statuses in routes.items():
        responses = OPERATIONS[route]["responses"]
        assert responses.keys() == statuses | ANYWHERE | (set() if routes is HEALTH else GUARDED), route
        for status in responses.keys() - {"200", "202", "204", "304"}:
            content = responses[status]["content"]
            # The connection itself refuses a malformed head, or one connection too many; and every face the host.
            if status in ("501", "421") or (status == "400" and kind not in content):
                assert content.keys() == ({PROBLEM} if status == "421" else {TEXT}), (route, status)
                continue
            more = {"400": {TEXT}, "503": {PROBLEM, JSON} if route[0] == "/readyz" else {PROBLEM}}.get(status, set())
            assert content.keys() == {kind} | more, (route, status)
            if schema is not None:
                assert content[kind]["schema"]["$ref"].endswith(f"/{schema}"), (route, status)


def test_no_route_is_left_out_of_this_list() -> None:
    assert OPERATIONS.keys() == ROUTES.keys() | HEALTH.keys() | OPENAI.keys() | AI_SDK.keys() | AG_UI.keys()
    assert "HTTPValidationError" not in str(DOCUMENT), "no error has FastAPI's own form"


def test_a_watch_has_each_form_of_its_position() -> None:
    watch = {(p["in"], p["name"]) for p in OPERATIONS[("/v1/jobs/{job_id}/events", "get")]["parameters"]}
    assert watch == {("path", "job_id"), ("header", "Last-Event-ID"), ("query", "after"), ("query", "lastEventId")} | {
        ("query", "readers"),
        ("query", "count"),
    }
