"""The AI SDK itself, versions 6 and 7, both transports: what its chats show after cuts, reloads, stops, lost workers.

Its parsers refuse each chunk that they do not know.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from readalong.testing import text_for
from tests.clients.node_chat import NodeChat, paced, text
from tests.support.client import Response, call
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("node_packages")

both = pytest.mark.parametrize("version", [6, 7])
each = pytest.mark.parametrize(("version", "transport"), [(6, "default"), (7, "default"), (7, "workflow")])
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}},
}

#: What a page that is loaded anew has stored.
QUESTION = {"id": "u", "role": "user", "parts": [{"type": "text", "text": "How?"}]}


def answer(shown: dict[str, Any], body: dict[str, Any]) -> str:
    """What the demo model says to the last message of the user, as readalong sends it."""
    asked = [m for m in shown["messages"] if m["role"] != "assistant" or m is not shown["messages"][-1]]
    said = [
        {"role": m["role"], "content": "".join(p["text"] for p in m["parts"] if p["type"] == "text")} for m in asked
    ]
    return text_for({**body, "messages": said})


class Chats:
    """Chats of one id at one API."""

    def __init__(self, stack: Stack, version: int, transport: str, **options: Any) -> None:
        self.id = f"chat {uuid4().hex}"
        self.url = stack.url
        self._start = (version, transport)
        self._options = {"api": f"{stack.url}/api/chat", "id": self.id, **options}

    async def open(self, **more: Any) -> NodeChat:
        version, transport = self._start
        return await NodeChat.start(version, transport, **{**self._options, **more})


async def reload(chats: Chats, loaded: NodeChat, length: int = 100) -> None:
    """Sends from one page. When the answer has so much text, `loaded` resumes it, and the first page is left."""
    async with await chats.open() as left:
        await left.do("send", text="How?")
        await left.says(length)
        await loaded.do("resume")


@both
async def test_an_answer_of_an_api_that_stops_is_no_whole_one(stack: Stack, version: int) -> None:
    """The chat says so without the recipe of the page."""
    async with await Chats(stack, version, "default", body=paced(3000, 100)).open() as chat:
        await chat.do("send", text="How?")
        await chat.says(50)
        stack.apis[0].term()
        shown = await chat.do("wait")
    stack.apis[0].wait()
    assert shown["status"] == "error"


@each
async def test_a_conversation_of_two_turns(stack: Stack, version: int, transport: str) -> None:
    """Each answer is the model's, one message with the job's id, times and usage."""
    body = {"model": "demo-fast+reasoning"}
    async with await Chats(stack, version, transport, body=body).open() as chat:
        for question in ("How?", f"And why? ({uuid4().hex})"):
            await chat.do("send", text=question)
            shown = await chat.do("wait")
            assert (shown["status"], shown["error"]) == ("ready", None)
            message = shown["messages"][-1]
            assert text(shown) == answer(shown, body)
            assert [part["type"] for part in message["parts"]] == ["step-start", "reasoning", "text"]
            assert all(part["state"] == "done" for part in message["parts"][1:])
            metadata = message["metadata"]
            assert message["id"] == f"msg_{metadata['jobId']}"
            assert metadata["usage"]["outputTokens"] > 0
            assert metadata["metrics"]["total_seconds"] > 0
        assert [each["role"] for each in shown["messages"]] == ["user", "assistant"] * 2
        [made] = stack.generations(question)
        assert [each["role"] for each in made["body"]["messages"]] == ["user", "assistant", "user"]
        await chat.do("regenerate")
        shown = await chat.do("wait")
        assert [each["role"] for each in shown["messages"]] == ["user", "assistant"] * 2
        assert shown["messages"][-1]["id"] != message["id"]
        assert text(shown) == answer(shown, body)


@both
async def test_a_page_that_is_loaded_anew_shows_the_answer_from_its_start(stack: Stack, version: int) -> None:
    """`resume` finds the chat's answer, at another replica too; when nothing runs it changes nothing."""
    body = paced()
    chats = Chats(stack, version, "default", body=body)
    async with await chats.open(messages=[QUESTION], api=f"{stack.urls[1]}/api/chat") as second:
        await reload(chats, second)
        shown = await second.do("wait")
        assert (shown["status"], text(shown)) == ("ready", answer(shown, body))
        assert len(shown["messages"]) == 2
        await second.do("resume")
        shown = await second.do("wait")
        assert (shown["status"], len(shown["messages"])) == ("ready", 2)
        assert shown["requests"][-1].endswith("/stream 204")


async def test_the_workflow_transport_goes_on_after_each_cut(stack: Stack) -> None:
    """By the number of chunks that it has, without a gap and without a repetition. Of breaks, it gives up at the third
    in a row; of ends without a `finish`, never."""
    # The text alone is longer than all cuts: how many chunks it comes in depends on how busy the worker is.
    body = paced(tokens=1500, rate=500)
    async with await Chats(stack, 7, "workflow", body=body, cuts=[700, -1500, 40, -800, -900, 1]).open() as chat:
        await chat.do("send", text="How?")
        shown = await chat.do("wait")
        assert (shown["status"], text(shown)) == ("ready", answer(shown, body))
        assert len(shown["messages"]) == 2
        job_id = shown["messages"][-1]["metadata"]["jobId"]
        resumed = [each for each in shown["requests"] if each.startswith(f"GET /api/chat/{job_id}/stream?startIndex=")]
        assert len(resumed) == 6
        assert all(each.endswith(" 200") for each in shown["requests"])


@pytest.mark.parametrize("start", [0, -10])
async def test_the_workflow_transport_reloads(stack: Stack, start: int) -> None:
    """From the first chunk, or from the newest ones: then from the start of the part that is open. A cut behind it is
    resumed at the right chunk. When nothing runs, the chat is ready."""
    body = paced(tokens=600, rate=200)
    chats = Chats(stack, 7, "workflow", body=body)
    async with await chats.open(messages=[QUESTION], startIndex=start, cuts=[1500]) as second:
        await reload(chats, second)
        shown = await second.do("wait")
        assert (shown["status"], text(shown)) == ("ready", answer(shown, body))
        assert len(shown["requests"]) == 2
        await second.do("resume")
        shown = await second.do("wait")
        assert (shown["status"], len(shown["messages"])) == ("ready", 2)


@both
async def test_a_stop_after_a_reload_ends_the_answer(stack: Stack, version: int) -> None:
    """The page's own stop only closes its connection; a stop that means another answer does nothing."""
    chats = Chats(stack, version, "default", body=paced(tokens=3000))
    async with await chats.open(messages=[QUESTION]) as chat:
        await reload(chats, chat, 1)
        shown = await chat.says()
        path = f"{stack.url}/api/chat/{chats.id.replace(' ', '%20')}/stop"
        for stream, ends in (("another", False), (shown["messages"][-1]["metadata"]["jobId"], True)):
            stopped = await call("POST", path, {"activeStreamId": stream})
            assert (stopped.status, stopped.json()) == (200, {"success": True})
            if not ends:
                await chat.says(len(text(shown)) + 1)
        shown = await chat.do("wait")
        assert shown["status"] == "ready"
        assert shown["messages"][-1]["metadata"]["metrics"]["chunk_count"] < 3000
        await until(lambda: all(made["state"] != "open" for made in stack.generations("How?")), "the model's close")


@both
async def test_a_message_while_an_answer_runs_takes_its_place(stack: Stack, version: int) -> None:
    """The answer that is left ends in its page; the new one is streamed to its end."""
    chats = Chats(stack, version, "default")
    async with await chats.open(body=paced(tokens=3000)) as left, await chats.open(body={"model": "demo-fast"}) as chat:
        await left.do("send", text="How?")
        await left.says()
        await chat.do("send", text="And why?")
        shown = await chat.do("wait")
        assert (shown["status"], text(shown)) == ("ready", answer(shown, {"model": "demo-fast"}))
        shown = await left.do("wait")
        assert shown["status"] == "ready"
        assert shown["messages"][-1]["metadata"]["metrics"]["chunk_count"] < 3000


@each
async def test_a_lost_worker_leaves_one_text(stack: Stack, version: int, transport: str) -> None:
    """`ai` 7 drops the lost attempt at `reset-step`; for 6 a part tells where the parts that count begin."""
    body = paced(tokens=150, rate=50)
    chats = Chats(stack, version, transport, body=body)
    api = f"{stack.url}/api/chat{'?reset=data' if version == 6 else ''}"
    async with await chats.open(api=api) as chat:
        await chat.do("send", text="How?")
        shown = await chat.says(50)
        job_id = shown["messages"][-1]["metadata"]["jobId"]
        running = (await call("GET", f"{stack.url}/v1/jobs/{job_id}")).json()
        stack.worker_of(running["worker"]["pid"]).kill()
        shown = await chat.do("wait")
    assert (shown["status"], len(shown["messages"])) == ("ready", 2)
    parts = shown["messages"][-1]["parts"]
    if version == 6:
        [restart] = [number for number, part in enumerate(parts) if part["type"] == "data-readalong"]
        assert parts[restart]["data"] == {"status": "restarted", "attempt": 2, "reason": "worker_lost"}
        shown["messages"][-1]["parts"] = parts[restart:]
    assert text(shown) == answer(shown, body)


@pytest.mark.parametrize("last", [False, True])
@both
async def test_a_tool_runs_in_the_page_and_its_result_goes_on_the_same_message(
    stack: Stack, version: int, last: bool
) -> None:
    """The second answer continues the message of the first, as `sendAutomaticallyWhen` has it. The model gets the whole
    chat, also when the page sends its newest message alone."""
    found, body = uuid4().hex, {"model": "demo-fast+tools", "tools": [TOOL]}
    chats = Chats(stack, version, "default", body=body, tools=found, last=last)
    async with await chats.open() as chat:
        await chat.do("send", text="How?")
        await chat.do("wait")

        async def ended() -> dict[str, Any] | None:
            shown = await chat.do("show")
            return shown if text(shown) and shown["status"] == "ready" else None

        shown = await until(ended, "the answer to the results")
    assert len(shown["messages"]) == 2
    kinds = [part["type"] for part in shown["messages"][-1]["parts"]]
    assert kinds == ["step-start", "tool-look_up", "tool-look_up", "step-start", "text"]
    [made] = stack.generations(found)
    asked = made["body"]["messages"]
    assert [each["role"] for each in asked] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in asked[1]["tool_calls"]] == [each["tool_call_id"] for each in asked[2:]]


@both
async def test_a_page_that_is_loaded_anew_keeps_the_steps_before_the_answer_to_results(
    stack: Stack, version: int
) -> None:
    """Its client begins an empty message at the replay's `start`. No tool runs once more."""
    parts: list[dict[str, Any]] = [
        {"type": "step-start"},
        {"type": "reasoning", "text": "hm", "state": "done"},
        {"type": "text", "text": "Look: ", "state": "done"},
        {"type": "tool-look_up", "toolCallId": "c", "state": "output-available", "input": {"q": "x"}, "output": [1]},
        {
            "type": "dynamic-tool",
            "toolName": "f",
            "toolCallId": "d",
            "state": "output-error",
            "input": {},
            "errorText": "E",
        },
        {"type": "source-url", "sourceId": "s", "url": "https://x"},
        {"type": "data-mine", "data": {"a": 1}},
    ]
    said = [QUESTION, {"id": "theirs", "role": "assistant", "parts": parts}]
    chats = Chats(stack, version, "default", messages=said, tools="again")
    raw = json.dumps({"id": chats.id, "messages": said, **paced(tokens=100)}).encode()
    async with await chats.open() as chat, await Response.open("POST", f"{stack.url}/api/chat", raw) as posted:
        assert posted.status == 200
        await chat.do("resume")
        shown = await chat.do("wait")
    assert (shown["status"], [each["id"] for each in shown["messages"]]) == ("ready", ["u", "theirs"])
    *before, step, answered = shown["messages"][-1]["parts"]
    assert [_told(part) for part in before] == [_told(part) for part in parts]
    assert (step["type"], answered["type"]) == ("step-start", "text")


def _told(part: dict[str, Any]) -> dict[str, Any]:
    """What a part says, without what the client notes about its making."""
    return {name: value for name, value in part.items() if name not in ("id", "rawInput", "dynamic")}


@both
async def test_a_page_may_send_its_newest_message_alone(stack: Stack, version: int) -> None:
    """The chat's thread has the others."""
    body = {"model": "demo-fast"}
    async with await Chats(stack, version, "default", body=body, last=True).open() as chat:
        for question in ("How?", f"And why? ({uuid4().hex})"):
            await chat.do("send", text=question)
            shown = await chat.do("wait")
            assert (shown["status"], text(shown)) == ("ready", answer(shown, body))
    [made] = stack.generations(question)
    assert [each["role"] for each in made["body"]["messages"]] == ["user", "assistant", "user"]


@both
async def test_a_failure_is_the_chats_error(stack: Stack, version: int) -> None:
    async with await Chats(stack, version, "default", body={"model": "demo-500"}).open() as chat:
        await chat.do("send", text="How?")
        shown = await chat.do("wait")
        assert shown["status"] == "error"
        assert shown["error"]
        assert shown["messages"][-1]["metadata"]["error"]["code"] == "model_error"


@both
async def test_a_refusal_is_a_sentence(stack: Stack, version: int) -> None:
    async with await Chats(stack, version, "default", body={"n": 2}).open() as chat:
        await chat.do("send", text="How?")
        shown = await chat.do("wait")
        assert (shown["status"], shown["error"]) == ("error", "n: The AI SDK's stream has one answer.")
