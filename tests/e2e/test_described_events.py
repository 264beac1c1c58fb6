"""Whatever a model says, its events and its job are as openapi.json describes them."""

from __future__ import annotations

from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from tests.support.client import call
from tests.support.description import COMPONENTS, DOCUMENT
from tests.support.json_once import loads_once
from tests.support.stack import Stack

pytestmark = pytest.mark.slow

FUNCTION: Final = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS: Final = {"tools": [{"type": "function", "function": FUNCTION}]}
#: A model, the fields of its request, and types of events that there must be.
SAID: Final[list[tuple[str, dict[str, Any], set[str]]]] = [
    ("demo-fast", {"metadata": {"user": "ada"}}, {"queued", "started", "content", "done"}),
    ("demo-fast+reasoning", {}, {"reasoning", "content"}),
    ("demo-fast+refusal", {}, {"refusal"}),
    ("demo-fast+tools", TOOLS, {"tool_call_delta", "tool_call"}),
    ("demo-fast+bad-arguments", TOOLS, {"tool_call"}),
    ("demo-fast+tools", {"functions": [FUNCTION]}, {"function_call"}),
    ("demo-fast+choices+logprobs", {"n": 2, "logprobs": True, "top_logprobs": 1}, {"content"}),
    ("demo-fast+azure", {}, {"content"}),
    ("demo-fast+error", {}, {"failed"}),
    ("demo-fast+cut", {"on_worker_lost": "fail"}, {"failed"}),
]


def check(value: Any, name: str) -> None:
    """A value is this component, and says nothing that the component does not name."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(value)
    component = COMPONENTS[name]
    if "properties" in component and not component.get("additionalProperties"):
        assert value.keys() <= component["properties"].keys(), name


@pytest.mark.parametrize(("model", "more", "kinds"), SAID, ids=[f"{model}-{[*more]}" for model, more, _ in SAID])
async def test_all_that_a_model_says_is_described(
    stack: Stack, model: str, more: dict[str, Any], kinds: set[str]
) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "What is a log?"}], **more}
    job = (await call("POST", f"{stack.url}/v1/jobs", body)).json()
    stream = (await call("GET", f"{stack.url}/v1/jobs/{job['id']}/events")).body.decode()
    events = [loads_once(line.removeprefix("data: ")) for line in stream.split("\n") if line.startswith("data: ")]
    assert kinds <= {event["type"] for event in events}
    mapping = COMPONENTS["JobEvent"]["discriminator"]["mapping"]
    for event in events:
        check(event, mapping[event["type"]].rpartition("/")[2])
        check(event, "JobEvent")
    shown = (await call("GET", f"{stack.url}/v1/jobs/{job['id']}?include=request&include=timeline")).json()
    check(shown, "Job")
    for call_made in shown["tool_calls"]:
        check(call_made, "ToolCall")
    check(loads_once((await call("GET", f"{stack.url}/v1/jobs/{job['id']}/stream")).body), "StreamMessages")
