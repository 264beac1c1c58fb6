"""What a thread holds: entries, each a message for the model, an OpenAI Responses item, or both.

One entry is one item: a message of an assistant with text and two tool calls is three entries, which `compose` joins
again. So each item has an id of its own, and the model gets the messages that the client gave.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from readalong.core.events import ITEMS
from readalong.core.transcript import Transcript

Message = dict[str, Any]

#: What stands between the model's id of a reasoning item and its encrypted content; see `with_model_id`.
MODEL_ID_END: Final = "~"

#: Fields of a message that only continues the tool calls of the one before it.
_CONTINUES: Final = frozenset({"role", "tool_calls", "content"})
#: Fields of an event's tool call that its message has elsewhere, or not at all.
_OF_EVENTS: Final = frozenset(
    {"index", "id", "name", "tool_type", "choice", "input", "arguments", "arguments_text", "arguments_error"}
)
#: What the id of an item of this type begins with.
_PREFIXES: Final = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "cto",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a thread.

    `message`: the chat-completions message that the model gets; None if the model gets nothing of it. `item`: the
    Responses item as it was given or made; None: `thread_items.item_of` makes it from the message when it is asked for.
    """

    id: str
    message: Message | None
    item: dict[str, Any] | None = None

    def encode(self) -> bytes:
        """Returns the entry as Redis keeps it: JSON without its id."""
        fields = {"message": self.message, "item": self.item}
        return orjson.dumps({name: value for name, value in fields.items() if value is not None})

    @classmethod
    def decode(cls, entry_id: str, data: bytes) -> Entry:
        """Raises ValueError for what `encode` did not write."""
        fields = orjson.loads(data)
        if not isinstance(fields, dict):
            raise ValueError("an entry is no object")
        return cls(entry_id, fields.get("message"), fields.get("item"))


def with_model_id(item: dict[str, Any]) -> dict[str, Any]:
    """Returns an item that a model gave, as clients and threads have it: its id will be another one, and a model takes
    its encrypted reasoning back only under its own id. So that stands in front of the content."""
    content = item.get("encrypted_content")
    return {**item, "encrypted_content": f"{item.get('id') or ''}{MODEL_ID_END}{content}"} if content else item


def new_entry_id(kind: str = "message") -> str:
    """Returns an unguessable id for an item of this type, such as `msg_…`."""
    return f"{_PREFIXES.get(kind, 'item')}_{secrets.token_urlsafe(16)}"


def entries_of(messages: Iterable[Message]) -> list[Entry]:
    """Returns the entries of these messages, with new ids."""
    return [Entry(new_entry_id(_kind(part)), part) for message in messages for part in _split(message)]


def answer_entries(job_id: str, transcript: Transcript, attempt: int = 1) -> list[Entry]:
    """Returns what a job's answer adds to its thread. Its ids are those of the answer's items in the Responses API:
    `msg_<job>` and `fc_<job>_<n>`, of a later attempt `msg_<job>_a<attempt>`.

    Of the first choice. An answer that says nothing adds nothing.
    """
    answered = f"{job_id}_a{attempt}" if attempt > 1 else job_id
    message: Message = {"role": "assistant"}
    text, refusal = transcript.text(), "".join(transcript.refusal)
    if text:
        message["content"] = text
    if refusal:
        message["refusal"] = refusal
        message.setdefault("content", None)
    own = [call for call in transcript.tool_calls if not call.get("choice")]
    calls = [_call(call, f"call_{answered}_{number}") for number, call in enumerate(own)]
    if calls:
        message["tool_calls"] = calls
    if transcript.function_call is not None:
        message["function_call"] = {
            "name": transcript.function_call.get("name", ""),
            "arguments": _arguments(transcript.function_call),
        }
    if len(message) == 1:
        return []
    items = _kept_items(answered, transcript, len(calls))
    found, number = [entry for before, entry in items if not before], 0
    for part in _split(message):
        kind = _kind(part)
        if kind == "message":
            found.append(Entry(f"msg_{answered}", part))
        else:
            found += [entry for before, entry in items if before and before == number]
            found.append(Entry(f"{_PREFIXES[kind]}_{answered}_{number}", part))
            number += 1
    return found


def compose(entries: Iterable[Entry], *, items: bool = False) -> list[Message]:
    """Returns the messages of these entries, in order: neighbouring assistant entries with tool calls are one message.

    `items`: entries without a message stand in the field ITEMS of the message that follows them, but no reasoning that
    has led to nothing: models refuse that.
    """
    messages: list[Message] = []
    before: list[dict[str, Any]] = []
    for entry in entries:
        message = entry.message
        if message is None:
            before += [entry.item] if items and entry.item else []
            continue
        while before and before[-1].get("type") == "reasoning" and message.get("role") != "assistant":
            before.pop()
        if before:
            message = {ITEMS: before, **message}
            before = []
        last = messages[-1] if messages else None
        if last is not None and last.get("role") == "assistant" and _continues(message):
            calls = [*(last.get("tool_calls") or ()), *message["tool_calls"]]
            messages[-1] = {**last, "tool_calls": calls}
        else:
            messages.append(message)
    return messages


def _continues(message: Message) -> bool:
    return (
        message.get("role") == "assistant"
        and bool(message.get("tool_calls"))
        and message.get("content") is None
        and message.keys() <= _CONTINUES
    )


def _kept_items(answered: str, transcript: Transcript, calls: int) -> list[tuple[int, Entry]]:
    """Returns the entries of the items that are kept whole, and the number of calls before each."""
    entries, counts = [], {"rs": 0, "item": 0}
    for before, item in transcript.items:
        prefix = "rs" if item.get("type") == "reasoning" else "item"
        number, counts[prefix] = counts[prefix], counts[prefix] + 1
        entry_id = f"{prefix}_{answered}{f'_{number}' if number else ''}"
        entries.append((before if before < calls else 0, Entry(entry_id, None, with_model_id(item))))
    return entries


def _split(message: Message) -> list[Message]:
    """Returns the message as one for each item: text, and each tool call. `compose` joins them to the same message."""
    calls = message.get("tool_calls")
    if message.get("role") != "assistant" or not isinstance(calls, list) or not calls:
        return [message]
    rest = [{"role": "assistant", "tool_calls": [call]} for call in calls]
    first = {name: value for name, value in message.items() if name != "tool_calls"}
    if message.get("content") or message.get("refusal"):
        return [first, *rest]
    return [{**first, **rest[0]}, *rest[1:]]


def _kind(message: Message) -> str:
    """Returns the type of a message's item."""
    calls = message.get("tool_calls")
    if message.get("role") == "assistant" and isinstance(calls, list) and calls:
        custom = isinstance(calls[0], dict) and calls[0].get("type") == "custom"
        return "custom_tool_call" if custom else "function_call"
    if message.get("function_call"):
        return "function_call"
    return "function_call_output" if message.get("role") in ("tool", "function") else "message"


def _call(call: dict[str, Any], default_id: str) -> dict[str, Any]:
    """Returns an event's tool call as the request of the next turn has it. Some models give their calls no ids."""
    call_id = call.get("id") or default_id
    if call.get("tool_type") == "custom":
        custom = {"name": call.get("name", ""), "input": call.get("input", "")}
        return {"id": call_id, "type": "custom", "custom": custom}
    function = {"name": call.get("name", ""), "arguments": _arguments(call)}
    # Such as `extra_content`, without which some models refuse the next turn.
    kept = {name: value for name, value in call.items() if name not in _OF_EVENTS}
    return {"id": call_id, "type": "function", "function": function, **kept}


def _arguments(call: dict[str, Any]) -> str:
    """Returns the arguments as JSON, as the model wrote them if they are no JSON."""
    if isinstance(call.get("arguments_text"), str):
        return str(call["arguments_text"])
    return orjson.dumps(call.get("arguments")).decode() if call.get("arguments") is not None else "{}"
