"""Entries of a thread, and the messages and items that they are."""

from __future__ import annotations

from typing import Any

import pytest

from readalong.core.events import Event, NewEvent
from readalong.core.thread_entries import Entry, answer_entries, compose, entries_of
from readalong.core.thread_items import entry_of, item_of
from readalong.core.transcript import Transcript

JOB = "abcdefghijklmnop"


def call(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": "f", "arguments": "{}"}, **more}


MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "ann"},
    {"role": "assistant", "content": "let me see", "tool_calls": [call(1), call(2)], "reasoning_content": "hm"},
    {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    {"role": "tool", "tool_call_id": "call_2", "content": "2"},
    {"role": "assistant", "content": None, "tool_calls": [call(3), call(4)]},
    {"role": "assistant", "content": "done", "refusal": None},
    {"role": "assistant", "content": "and more"},
]


def test_composing_gives_back_the_messages_that_entries_were_made_of() -> None:
    entries = entries_of(MESSAGES)
    assert len(entries) == 11
    assert len({entry.id for entry in entries}) == 11
    assert compose(entries) == MESSAGES
    assert compose(Entry.decode(entry.id, entry.encode()) for entry in entries) == MESSAGES


def test_an_entry_without_a_message_is_nothing_to_the_model() -> None:
    assert compose([Entry("rs_1", None, {"type": "reasoning"}), *entries_of(MESSAGES[:1])]) == MESSAGES[:1]


def said(*drafts: NewEvent) -> Transcript:
    transcript = Transcript()
    transcript.add_all(Event(seq, draft.type, draft.encode()) for seq, draft in enumerate(drafts, 1))
    return transcript


def test_an_answer_is_the_message_that_the_next_turn_needs() -> None:
    answer = answer_entries(
        JOB,
        said(
            NewEvent("content", {"content": "let me "}),
            NewEvent("content", {"content": "see"}),
            NewEvent("content", {"content": "another choice", "choice": 1}),
            NewEvent(
                "tool_call", {"index": 0, "id": "a", "name": "f", "arguments": {"x": 1}, "extra_content": {"s": 1}}
            ),
            NewEvent("tool_call", {"index": 1, "id": "b", "name": "g", "arguments": None, "arguments_text": "{x"}),
            NewEvent(
                "tool_call",
                {"index": 2, "id": "c", "tool_type": "custom", "name": "h", "input": "i", "arguments": None},
            ),
        ),
        attempt=2,
    )
    assert [entry.id for entry in answer] == [
        f"msg_{JOB}_a2",
        *(f"{kind}_{JOB}_a2_{n}" for n, kind in enumerate(("fc", "fc", "ctc"))),
    ]
    assert compose(answer) == [
        {
            "role": "assistant",
            "content": "let me see",
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"x":1}'},
                    "extra_content": {"s": 1},
                },
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{x"}},
                {"id": "c", "type": "custom", "custom": {"name": "h", "input": "i"}},
            ],
        }
    ]


def test_a_refusal_and_a_legacy_call_are_kept_and_silence_is_not() -> None:
    assert answer_entries(JOB, said(NewEvent("started", {"attempt": 1}))) == []
    [refusal] = answer_entries(JOB, said(NewEvent("refusal", {"content": "no"})))
    assert refusal == Entry(f"msg_{JOB}", {"role": "assistant", "refusal": "no", "content": None})
    [legacy] = answer_entries(JOB, said(NewEvent("function_call", {"name": "f", "arguments": {}})))
    assert legacy.message == {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}
    assert item_of(legacy)["type"] == "function_call"


def test_items_that_no_message_can_say_stand_where_they_were_said() -> None:
    """Each before the text or the call that it led to; the end alone does not say them."""

    def kept(name: str) -> NewEvent:
        item = {"type": "reasoning" if name < "s" else "web_search_call", "id": name}
        return NewEvent("content", {"content": "", "extra": {"choices.0.delta.response_items": [item]}})

    def fragment(index: int) -> NewEvent:
        return NewEvent("tool_call_delta", {"index": index, "id": f"c{index}", "name": "f", "arguments": "{}"})

    calls = [NewEvent("tool_call", {"index": n, "id": f"c{n}", "name": "f", "arguments": {}}) for n in range(2)]
    end = NewEvent("done", {"content": "Hi", "tool_calls": [], "extra": {"response_items": 3}})
    transcript = said(
        kept("lost"),
        NewEvent("restarted", {"attempt": 2}),
        *(kept("r1"), kept("s1"), NewEvent("content", {"content": "Hi"}), fragment(0), kept("r2"), fragment(1)),
        *(*calls, end),
    )
    answer = answer_entries(JOB, transcript)
    assert [entry.id for entry in answer] == [
        *(f"rs_{JOB}", f"item_{JOB}", f"msg_{JOB}", f"fc_{JOB}_0", f"rs_{JOB}_1", f"fc_{JOB}_1")
    ]
    composed = compose(answer, items=True)
    assert [
        ([item["id"] for item in message.get("response_items", [])], message.get("content"), len(message["tool_calls"]))
        for message in composed
    ] == [(["r1", "s1"], "Hi", 1), (["r2"], None, 1)]
    assert all("response_items" not in message for message in compose(answer))
    assert Transcript.of_end(Event(9, end.type, end.encode())) is None


ITEMS: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
    ({"role": "user", "content": "hi"}, {"role": "user", "content": "hi"}),
    (
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
        },
        {"role": "assistant", "content": "a", "refusal": "b"},
    ),
    (
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": "u", "detail": "low"},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "u", "detail": "low"}},
            ],
        },
    ),
    (
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
    ),
    (
        {"type": "function_call_output", "call_id": "c", "output": "o"},
        {"role": "tool", "tool_call_id": "c", "content": "o"},
    ),
    ({"type": "reasoning", "id": "rs", "summary": []}, None),
]


@pytest.mark.parametrize(("item", "message"), ITEMS)
def test_an_item_becomes_a_message_and_stays_the_item(item: dict[str, Any], message: dict[str, Any] | None) -> None:
    entry = entry_of(item)
    assert entry.message == message
    shown = item_of(Entry.decode(entry.id, entry.encode()))
    assert shown["id"] == entry.id == item.get("id", entry.id)
    kept = {name: value for name, value in item.items() if not isinstance(value, str) or name != "content"}
    assert kept.items() <= shown.items()


@pytest.mark.parametrize(
    ("item", "what"),
    [
        ({"type": "magic"}, "type"),
        ({}, "type"),
        ({"role": "boss", "content": "x"}, "role"),
        ({"role": "user", "content": 7}, "content"),
        ({"role": "user", "content": [{"type": "input_video"}]}, "content.0"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "content.0.text"),
        ({"type": "function_call", "call_id": "c", "name": "f"}, "arguments"),
        ({"type": "function_call_output", "call_id": "c"}, "output"),
    ],
)
def test_an_item_that_no_message_can_say_names_what_is_wrong(item: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=rf"^{what}: "):
        entry_of(item)


def test_what_is_no_entry_is_no_entry() -> None:
    with pytest.raises(ValueError, match="no object"):
        Entry.decode("x", b"[]")
