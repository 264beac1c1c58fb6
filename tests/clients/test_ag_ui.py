"""AG-UI's own HttpAgent, which verifies each event: what its messages are after tools, a lost worker, an abort."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from readalong.testing import text_for
from tests.clients.node_chat import NodeChat, paced
from tests.support.client import call
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("node_packages")

TOOL = {
    "name": "look_up",
    "description": "Looks up.",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
}


async def agent(stack: Stack, **options: Any) -> NodeChat:
    words = {"url": f"{stack.url}/agui", "threadId": uuid4().hex, "forwardedProps": {}, **options}
    return await NodeChat.of("ag_ui.mjs", json.dumps(words))


def user(text: str) -> dict[str, Any]:
    return {"id": uuid4().hex, "role": "user", "content": text}


def answer(question: dict[str, Any], props: dict[str, Any]) -> str:
    return text_for({**props, "messages": [{"role": "user", "content": question["content"]}]})


def named(shown: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The values of our own events of this name."""
    return [each["value"] for each in shown["events"] if each.get("name") == f"readalong.{name}"]


def text(shown: dict[str, Any]) -> str:
    """The text of the newest message."""
    return str(shown["messages"][-1]["content"])


async def test_a_tool_of_the_application_and_the_answer_to_its_result(stack: Stack) -> None:
    """The agent's messages of the first run are the second's input; the model gets them in its own form."""
    question, found, props = user("How?"), uuid4().hex, {"model": "demo-fast+tools+reasoning"}
    async with await agent(stack, tools=[TOOL], forwardedProps=props) as chat:
        await chat.do("run", messages=[question])
        shown = await chat.do("wait")
        assert shown["error"] is None, shown
        [asked] = [each for each in shown["messages"] if each.get("toolCalls")]
        calls = [each["id"] for each in asked["toolCalls"]]
        assert shown["finished"]["pending"] == calls
        assert shown["finished"]["usage"][0]["outputTokens"] > 0
        results = [{"id": f"for {each}", "role": "tool", "toolCallId": each, "content": found} for each in calls]
        await chat.do("run", messages=results)
        shown = await chat.do("wait")
    assert shown["error"] is None, shown
    assert shown["messages"][-1]["content"]
    [made] = stack.generations(found)
    assert [each["role"] for each in made["body"]["messages"]] == ["user", "assistant", "tool", "tool"]


async def test_a_run_of_an_api_that_stops_has_failed(stack: Stack) -> None:
    """A run that ended with its connection would pass for a whole one."""
    async with await agent(stack, forwardedProps=paced(3000, 100)) as chat:
        await chat.do("run", messages=[user("How?")])
        await chat.says(50, text)
        stack.apis[0].term()
        shown = await chat.do("wait")
    stack.apis[0].wait()
    assert shown["error"] is not None
    assert shown["finished"] is None


async def test_a_lost_worker_leaves_one_text(stack: Stack) -> None:
    """The snapshot voids text and reasoning of the lost attempt; the steps and all else are closed."""
    question, props = user("How?"), {**paced(150, 50), "model": "demo-reasoning"}
    async with await agent(stack, forwardedProps=props) as chat:
        await chat.do("run", messages=[question])
        shown = await chat.says(50, text)
        [queued] = named(shown, "queued")
        running = (await call("GET", f"{stack.url}/v1/jobs/{queued['jobId']}")).json()
        stack.worker_of(running["worker"]["pid"]).kill()
        shown = await chat.do("wait")
    assert shown["error"] is None, shown
    assert named(shown, "restarted") == [{"attempt": 2, "reason": "worker_lost"}]
    assert [each["role"] for each in shown["messages"]] == ["user", "reasoning", "assistant"]
    ended = (await call("GET", f"{stack.url}/v1/jobs/{queued['jobId']}")).json()
    assert shown["messages"][-1]["content"] == ended["content"] == answer(question, props)
    said = [each["delta"] for each in shown["events"] if each["type"] == "REASONING_MESSAGE_CONTENT"]
    assert "".join(said).endswith(shown["messages"][1]["content"])
    assert len(shown["messages"][1]["content"]) < len("".join(said))


async def test_an_abort_cancels_the_run(stack: Stack) -> None:
    """Its client has no other way to say so. The next run of the thread does not wait for the end."""
    question, props = user("How?"), {**paced(3000, 50), "readalong": {"cancel_on_disconnect": 0}}
    async with await agent(stack, forwardedProps=props) as chat:
        await chat.do("run", messages=[question])
        [queued] = named(await chat.says(1, text), "queued")
        await chat.do("abort")

        async def cancelled() -> bool:
            job = (await call("GET", f"{stack.url}/v1/jobs/{queued['jobId']}")).json()
            return bool(job["status"] == "cancelled")

        await until(cancelled, "the cancel")


async def test_a_refusal_is_an_error_with_a_payload(stack: Stack) -> None:
    async with await agent(stack, forwardedProps={"n": 2}) as chat:
        await chat.do("run", messages=[user("How?")])
        shown = await chat.do("wait")
    message = "forwardedProps.n: A run has one answer."
    told = {"message": message, "code": "invalid_request", "retryable": False, "field": "forwardedProps.n"}
    assert shown["error"]["payload"] == told
    assert shown["error"]["message"].startswith("HTTP 422: ")
