"""UI messages to chat messages."""

from __future__ import annotations

from typing import Any

import pytest

from readalong.api.submission.ai_sdk_request import ai_sdk_request
from readalong.core.errors import InvalidRequest
from readalong.core.thread_entries import compose
from readalong.store.threads import WHOLE

PNG = "data:image/png;base64,AAAA"
PDF = "data:application/pdf;base64,AAAA"


def part(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, **more}


def say(text: str) -> dict[str, Any]:
    return part("text", text=text)


def tool(state: str, id: str = "c", name: str = "tool-f", **more: Any) -> dict[str, Any]:
    return part(name, toolCallId=id, state=state, **more)


def call(arguments: str, id: str = "c", name: str = "f", **more: Any) -> dict[str, Any]:
    return {**more, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(content: str, id: str = "c") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def calling(*calls: dict[str, Any], content: str | None = None) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


USER: dict[str, list[Any]] = {
    "one text": [[say("hi")], "hi"],
    "texts": [[say("a"), say("b")], [say("a"), say("b")]],
    "a picture by its address, and one in the message": [
        [say("a"), part("file", mediaType="image/png", url=PNG), part("file", mediaType="image/*", url="https://x/y")],
        [
            say("a"),
            {"type": "image_url", "image_url": {"url": PNG}},
            {"type": "image_url", "image_url": {"url": "https://x/y"}},
        ],
    ],
    "sound": [
        [part("file", mediaType="audio/mpeg", url="data:audio/mpeg;codecs=x;base64,AAAA")],
        [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}],
    ],
    "a PDF": [
        [part("file", mediaType="application/pdf", url=PDF, filename="a.pdf")],
        [{"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}}],
    ],
    "an application's own data, which no model gets": [[part("data-place", data=1), say("hi")], "hi"],
}


@pytest.mark.parametrize("what", USER)
def test_what_a_user_says(what: str) -> None:
    parts, content = USER[what]
    asked = ai_sdk_request({"messages": [{"role": "user", "parts": parts}]})
    assert asked.body == {"messages": [{"role": "user", "content": content}]}


CUSTOM = {"readalong": {"type": "custom"}}
SIGNED = {"readalong": {"extra_content": {"google": {"thought_signature": "s"}}}, "other": {"x": 1}}
ASSISTANT: dict[str, list[Any]] = {
    "steps: each is a message, and the results of its calls": [
        [
            part("step-start"),
            part("reasoning", text="hm"),
            say("a"),
            tool("output-available", input={"q": 1}, output={"n": 7}),
            tool("output-available", "d", "dynamic-tool", toolName="g", input="x", output="text"),
            part("step-start"),
            say("b"),
            say("c"),
            part("source-url", url="https://x"),
        ],
        [
            calling(call('{"q":1}'), call('"x"', "d", "g"), content="a"),
            result('{"n":7}'),
            result("text", "d"),
            {"role": "assistant", "content": "bc"},
        ],
    ],
    "a tool that failed, also on input that is no JSON": [
        [tool("output-error", input={}, errorText="E"), tool("output-error", "d", rawInput="{", errorText="F")],
        [calling(call("{}"), call("{", "d")), result("E"), result("F", "d")],
    ],
    "calls without a result, which models refuse": [
        [say("a"), tool("input-streaming", input={}), tool("input-available", input={}), tool("approval-requested")],
        [{"role": "assistant", "content": "a"}],
    ],
    "calls that the user denied": [
        [
            tool("output-denied", input={}, approval={"id": "1", "approved": False, "reason": "No."}),
            tool("approval-responded", "d", input={}, approval={"id": "2", "approved": False}),
            tool("approval-responded", "e", input={}, approval={"id": "3", "approved": True}),
        ],
        [calling(call("{}"), call("{}", "d")), result("No."), result("The call was denied.", "d")],
    ],
    "what a model wants back with its call, and a custom tool": [
        [
            tool("output-available", input={}, output="1", callProviderMetadata=SIGNED),
            tool("output-available", "d", input="ls", output="2", callProviderMetadata=CUSTOM),
        ],
        [
            calling(
                call("{}", extra_content={"google": {"thought_signature": "s"}}),
                {"id": "d", "type": "custom", "custom": {"name": "f", "input": "ls"}},
            ),
            result("1"),
            result("2", "d"),
        ],
    ],
    "a lost attempt, whose parts are void": [
        [say("lost"), part("data-readalong", data={"status": "restarted"}), part("step-start"), say("kept")],
        [{"role": "assistant", "content": "kept"}],
    ],
    "nothing": [[part("step-start"), part("reasoning", text="hm")], []],
}


@pytest.mark.parametrize("what", ASSISTANT)
def test_what_an_assistant_has_said(what: str) -> None:
    """In each step of a message."""
    parts, messages = ASSISTANT[what]
    user = {"role": "user", "parts": [say("hi")]}
    asked = ai_sdk_request({"messages": [user, {"id": "m", "role": "assistant", "parts": parts}, user]})
    hi = {"role": "user", "content": "hi"}
    assert asked.body["messages"] == [hi, *messages, hi]
    assert asked.continued is None


def test_whole_messages_are_the_thread_and_the_instructions_are_not_of_it() -> None:
    """The body's own fields are not the model's."""
    messages = [{"role": "system", "parts": [say("a"), say("b")]}, {"role": "user", "parts": [say("hi")]}]
    asked = ai_sdk_request(
        {
            "id": "c",
            "messages": messages,
            "trigger": "regenerate-message",
            "messageId": "m",
            "system": "Be brief.",
            "temperature": 1,
            "readalong": {"deadline": 5, "thread_policy": "enqueue"},
        }
    )
    said = [{"role": "system", "content": "ab"}, {"role": "user", "content": "hi"}]
    wanted = [{"role": "system", "content": "Be brief."}, *said]
    assert asked.body == {"messages": wanted, "temperature": 1, "deadline": 5}
    assert asked.turn is not None
    assert (asked.turn.thread_id, asked.turn.policy, asked.turn.leading) == ("c", "enqueue", WHOLE)
    assert compose(asked.turn.entries) == said


def test_a_message_alone_is_a_turn_behind_the_instructions() -> None:
    asked = ai_sdk_request({"id": "c", "message": {"role": "user", "parts": [say("hi")]}, "system": "Be brief."})
    assert asked.turn is not None
    assert (asked.turn.policy, asked.turn.leading) == ("interrupt", 1)
    assert compose(asked.turn.entries) == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("whole", [True, False])
def test_results_of_tools_continue_the_message_of_their_calls(whole: bool) -> None:
    """The thread has the calls already."""
    parts = [say("a"), tool("output-available", input={}, output="1"), part("step-start")]
    parts.append(tool("output-available", "d", input={}, output="2"))
    message = {"id": "theirs", "role": "assistant", "parts": parts}
    asked = ai_sdk_request({"id": "c", **({"messages": [message]} if whole else {"message": message})})
    assert asked.continued == message
    assert asked.body["messages"][-1] == result("2", "d")
    assert len(asked.body["messages"]) == (4 if whole else 1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"message": {"role": "user", "parts": [say("hi")]}}, "id"),
        ({"id": "c", "message": {"role": "user", "parts": [say("hi")]}, "trigger": "regenerate-message"}, "trigger"),
        ({"id": "c", "message": {"role": "assistant", "parts": [say("hi")]}}, "message"),
        ({"id": "c", "message": {"role": "user", "parts": []}}, "message.parts"),
        ({"messages": [{"role": "assistant", "parts": []}]}, "messages"),
        ({"messages": [{"role": "user", "parts": [say("hi")]}], "thread": "t"}, "thread"),
    ],
)
def test_what_makes_no_turn_is_refused_by_name(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ai_sdk_request(body)
    assert caught.value.field == field
