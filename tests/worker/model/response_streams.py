"""Streams of the Responses API, judged by the openai package's own types."""

from __future__ import annotations

from typing import Any, Final

import orjson
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

_EVENT: Final[TypeAdapter[Any]] = TypeAdapter(ResponseStreamEvent)

Event = dict[str, Any]


def sse(*events: Event, checked: bool = True) -> bytes:
    """Returns the events as a stream, numbered. `checked`: the package knows each of them."""
    frames = []
    for number, event in enumerate(events):
        numbered = {**event, "sequence_number": number}
        if checked:
            _EVENT.validate_python(numbered)
        frames.append(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(numbered)))
    return b"".join(frames)


def response(status: str = "completed", *output: Event, **more: Any) -> Event:
    return {
        "id": "resp_up",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": status,
        "model": "up-2026",
        "output": list(output),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **more,
    }


def begins() -> list[Event]:
    head = response("in_progress")
    return [{"type": f"response.{name}", "response": head} for name in ("created", "in_progress")]


def ends(status: str = "completed", *output: Event, **more: Any) -> Event:
    return {"type": f"response.{status}", "response": response(status, *output, **more)}


def item(what: str, index: int, given: Event) -> Event:
    return {"type": f"response.output_item.{what}", "output_index": index, "item": given}


def part(kind: str, index: int, item_id: str, *, place: int = 0, by: str = "content_index", **fields: Any) -> Event:
    """An event of a part of an item: `kind` without `response.`."""
    return {"type": f"response.{kind}", "item_id": item_id, "output_index": index, by: place, **fields}


def message(text: str | None = None, item_id: str = "msg_up", **more: Any) -> Event:
    content = [] if text is None else [{"type": "output_text", "text": text, "annotations": [], **more}]
    status = "in_progress" if text is None else "completed"
    return {"type": "message", "id": item_id, "role": "assistant", "status": status, "content": content}


def says(index: int, *pieces: str, item_id: str = "msg_up") -> list[Event]:
    """A whole message, in pieces."""
    text = "".join(pieces)
    whole = {"type": "output_text", "text": text, "annotations": []}
    empty = {"type": "output_text", "text": "", "annotations": []}
    return [
        item("added", index, message(item_id=item_id)),
        part("content_part.added", index, item_id, part=empty),
        *(part("output_text.delta", index, item_id, delta=piece, logprobs=[]) for piece in pieces),
        part("output_text.done", index, item_id, text=text, logprobs=[]),
        part("content_part.done", index, item_id, part=whole),
        item("done", index, message(text, item_id)),
    ]


def reasoning(*summary: str, encrypted: str | None = "gAAAA", content: str | None = None) -> Event:
    found: Event = {"type": "reasoning", "id": "rs_up", "summary": []}
    found["summary"] = [{"type": "summary_text", "text": text} for text in summary]
    if content is not None:
        found["content"] = [{"type": "reasoning_text", "text": content}]
    return found | ({} if encrypted is None else {"encrypted_content": encrypted})


def thinks(index: int, *summary: str, encrypted: str | None = "gAAAA") -> list[Event]:
    """A whole item of reasoning with a summary of these parts, each in two pieces."""
    events = [item("added", index, reasoning(encrypted=None))]
    for place, text in enumerate(summary):
        where: Any = {"place": place, "by": "summary_index"}
        empty, whole = ({"type": "summary_text", "text": each} for each in ("", text))
        events += [
            part("reasoning_summary_part.added", index, "rs_up", part=empty, **where),
            part("reasoning_summary_text.delta", index, "rs_up", delta=text[:2], **where),
            part("reasoning_summary_text.delta", index, "rs_up", delta=text[2:], **where),
            part("reasoning_summary_text.done", index, "rs_up", text=text, **where),
            part("reasoning_summary_part.done", index, "rs_up", part=whole, **where),
        ]
    return [*events, item("done", index, reasoning(*summary, encrypted=encrypted))]


def calls(index: int, *pieces: str, call_id: str = "call_1", name: str = "seek", custom: bool = False) -> list[Event]:
    """A whole call of a function or of a custom tool, in pieces."""
    kind, field, of = (
        ("custom_tool_call", "input", "custom_tool_call_input")
        if custom
        else ("function_call", "arguments", "function_call_arguments")
    )
    item_id, text = f"fc_{call_id}", "".join(pieces)
    begun = {"type": kind, "id": item_id, "call_id": call_id, "name": name, field: ""}
    place = {"item_id": item_id, "output_index": index}
    return [
        item("added", index, begun),
        *({"type": f"response.{of}.delta", **place, "delta": piece} for piece in pieces),
        {"type": f"response.{of}.done", **place, field: text, **({} if custom else {"name": name})},
        item("done", index, {**begun, field: text}),
    ]


SEARCH: Final[Event] = {
    "type": "web_search_call",
    "id": "ws_up",
    "status": "completed",
    "action": {"type": "search", "query": "owls", "queries": ["owls"]},
}


def searches(index: int) -> list[Event]:
    place = {"item_id": "ws_up", "output_index": index}
    steps = ("in_progress", "searching", "completed")
    return [
        item("added", index, {**SEARCH, "status": "in_progress"}),
        *({"type": f"response.web_search_call.{step}", **place} for step in steps),
        item("done", index, SEARCH),
    ]


CITATION: Final[Event] = {
    "type": "url_citation",
    "url": "https://owls.example",
    "title": "Owls",
    "start_index": 0,
    "end_index": 4,
}
USAGE: Final = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 16,
}
CHAT_USAGE: Final = {
    "prompt_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
    "completion_tokens": 9,
    "completion_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 16,
}
