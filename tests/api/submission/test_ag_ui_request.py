"""RunAgentInput to a chat-completions request."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from readalong.api.submission.ag_ui_request import AgUiRequest, ag_ui_request
from readalong.core.errors import InvalidRequest
from readalong.store.threads import WHOLE

USER = {"id": "u", "role": "user", "content": "hi"}


def translated(*messages: dict[str, Any], **more: Any) -> AgUiRequest:
    return ag_ui_request({"threadId": "t", "runId": "r", "messages": list(messages) or [USER], **more})


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"id": "u", "role": "user", "content": list(parts)}


def media(kind: str, mime: str = "", *, url: str = "") -> dict[str, Any]:
    source = {"type": "url", "value": url} if url else {"type": "data", "value": "AA==", "mimeType": mime}
    return {"type": kind, "source": source}


def test_each_message_says_the_model_what_it_says() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    kept = {**call, "metadata": {"readalong": {"extra_content": {"s": 1}}, "theirs": 1}}
    asked = translated(
        {"id": "d", "role": "developer", "content": "Be brief.", "name": "boss"},
        {"id": "s", "role": "system", "content": "Be kind."},
        user({"type": "text", "text": "Look"}, media("image", "image/png"), media("image", url="https://x/y")),
        user(media("audio", "audio/mpeg"), media("document", "application/pdf")),
        {"id": "r", "role": "reasoning", "content": "Hm"},
        {"id": "a", "role": "activity", "activityType": "x", "content": {"n": None}},
        {"id": "m", "role": "assistant", "content": None, "toolCalls": [kept, {**call, "id": "unanswered"}]},
        {"id": "o", "role": "tool", "toolCallId": "c", "content": [{"type": "text", "text": "half"}], "error": "late"},
        {"id": "n", "role": "assistant", "toolCalls": [{**call, "id": "unanswered"}]},
        context=[{"description": "The page", "value": "/home"}, {"description": "Now", "value": "noon"}],
        tools=[
            {"name": "f", "description": "F", "parameters": {"type": "object"}, "metadata": {"x": 1}},
            {"name": "g", "description": ""},
        ],
        forwardedProps={"model": "m", "temperature": 1, "readalong": {"deadline": 9, "thread_policy": "enqueue"}},
    )
    assert orjson.loads(asked.raw) == asked.body
    said = asked.body.pop("messages")
    assert said == [
        {"role": "system", "content": "The page:\n/home\n\nNow:\nnoon"},
        {"role": "developer", "content": "Be brief.", "name": "boss"},
        {"role": "system", "content": "Be kind."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                {"type": "image_url", "image_url": {"url": "https://x/y"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
                {"type": "file", "file": {"filename": "file.pdf", "file_data": "data:application/pdf;base64,AA=="}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"extra_content": {"s": 1}, **call}]},
        {"role": "tool", "tool_call_id": "c", "content": "half\nError: late"},
    ]
    assert asked.body == {
        "model": "m",
        "temperature": 1,
        "deadline": 9,
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "F", "parameters": {"type": "object"}}},
            {"type": "function", "function": {"name": "g", "description": ""}},
        ],
    }
    # The context is not part of the conversation.
    assert [each.message for each in asked.turn.entries] == said[1:]
    assert (asked.turn.thread_id, asked.turn.policy, asked.turn.leading) == ("t", "enqueue", WHOLE)


def test_the_snapshot_has_the_messages_as_they_came_but_no_null() -> None:
    """Clients refuse null where a field may be left out; what an activity holds is the application's."""
    activity = {"id": "a", "role": "activity", "activityType": "x", "content": {"n": None}}
    asked = translated({**USER, "name": None}, activity)
    assert orjson.loads(asked.messages) == [USER, activity]


BAD: dict[str, dict[str, Any]] = {
    "threadId": {"threadId": None},
    "runId": {"runId": "x" * 251},
    "parentRunId": {"parentRunId": 1},
    "protocolVersion": {"protocolVersion": "2.0"},
    "unknown": {"unknown": 1},
    "state": {"state": {"a": 1}},
    "resume": {"resume": [{"interruptId": "i", "status": "resolved"}]},
    "context.0.value": {"context": [{"description": "x"}]},
    "tools.0.description": {"tools": [{"name": "f"}]},
    "tools.0": {"tools": ["f"]},
    "forwardedProps": {"forwardedProps": []},
    "forwardedProps.n": {"forwardedProps": {"n": 2}},
    "forwardedProps.tools": {"forwardedProps": {"tools": []}},
    "forwardedProps.readalong": {"forwardedProps": {"readalong": 1}},
    "forwardedProps.readalong.deadlines": {"forwardedProps": {"readalong": {"deadlines": 1}}},
    "forwardedProps.readalong.thread_policy": {"forwardedProps": {"readalong": {"thread_policy": "x"}}},
    "forwardedProps.seed": {"forwardedProps": {"seed": 2**70}},
    "messages": {"messages": [{"id": "r", "role": "reasoning", "content": "Hm"}]},
    "messages.0": {"messages": ["hi"]},
    "messages.0.role": {"messages": [{"id": "x", "role": "function"}]},
    "messages.0.content": {"messages": [{**USER, "content": []}]},
    "messages.0.name": {"messages": [{**USER, "name": 1}]},
    "messages.0.content.0.type": {"messages": [user({"type": "video"})]},
    "messages.0.content.0.text": {"messages": [user({"type": "text"})]},
    "messages.0.content.0.source": {"messages": [user(media("audio", url="https://x"))]},
    "messages.0.content.0.source.mimeType": {
        "messages": [user({"type": "audio", "source": {"type": "data", "value": "", "mimeType": []}})]
    },
    "messages.0.toolCallId": {"messages": [{"id": "o", "role": "tool", "content": "x", "toolCallId": []}]},
    "messages.0.toolCalls.0.function": {"messages": [{"id": "m", "role": "assistant", "toolCalls": [{"id": "c"}]}]},
}


@pytest.mark.parametrize("field", BAD)
def test_a_wrong_field_is_named(field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ag_ui_request({"threadId": "t", "runId": "r", "messages": [USER], **BAD[field]})
    assert caught.value.field == field
    assert caught.value.message.startswith(f"{field}: ")
