"""Between a thread's entries and OpenAI's Responses items."""

from __future__ import annotations

from typing import Any, Final

from readalong.core.thread_entries import Entry, Message, new_entry_id

#: Roles of messages in items and in chat completions alike.
_ROLES: Final = frozenset({"user", "assistant", "system", "developer"})


def item_of(entry: Entry) -> dict[str, Any]:
    """Returns the entry as a Responses item with the entry's id: the one that it holds, or one made from its
    message."""
    if entry.item is not None:
        return {**entry.item, "id": entry.id}
    message = entry.message or {}
    return {**_item(entry.id, message), "id": entry.id, "status": "completed"}


def entry_of(item: dict[str, Any]) -> Entry:
    """Returns the entry of an item that a client gave, with its message if the model can get one of it. Its id is the
    item's, or a new one.

    Raises ValueError, whose text names what is wrong, for an item that no chat-completions message can say.
    """
    kind = item.get("type", "message" if "role" in item else None)
    given = item.get("id")
    own = given if isinstance(given, str) and given else new_entry_id(str(kind))
    message: Message | None
    if kind == "message":
        message, item = _message(item), _stored_message(item)
    elif kind == "function_call":
        call_id, name, arguments = (_string(item, field) for field in ("call_id", "name", "arguments"))
        function = {"name": name, "arguments": arguments}
        message = {"role": "assistant", "tool_calls": [{"id": call_id, "type": "function", "function": function}]}
    elif kind == "custom_tool_call":
        call_id, name, text = (_string(item, field) for field in ("call_id", "name", "input"))
        message = {
            "role": "assistant",
            "tool_calls": [{"id": call_id, "type": "custom", "custom": {"name": name, "input": text}}],
        }
    elif kind in ("function_call_output", "custom_tool_call_output"):
        message = {"role": "tool", "tool_call_id": _string(item, "call_id"), "content": _output(item.get("output"))}
    elif kind == "reasoning":
        message = None
    else:
        raise ValueError(f"type: an item of type {kind!r} is not supported")
    stored = {**item, "type": kind, "id": own}
    if kind != "reasoning":
        stored.setdefault("status", "completed")
    return Entry(own, message, stored)


def _item(entry_id: str, message: Message) -> dict[str, Any]:
    role, calls = message.get("role"), message.get("tool_calls")
    if isinstance(calls, list) and calls and isinstance(calls[0], dict):
        call = calls[0]
        if call.get("type") == "custom":
            custom = call.get("custom") or {}
            named = {"name": custom.get("name", ""), "input": custom.get("input", "")}
            return {"type": "custom_tool_call", "call_id": call.get("id", ""), **named}
        return {"type": "function_call", "call_id": call.get("id", ""), **_function(call.get("function"))}
    if message.get("function_call"):
        return {"type": "function_call", "call_id": f"call_{entry_id}", **_function(message["function_call"])}
    if role in ("tool", "function"):
        # The older form names the function alone.
        call_id = message.get("tool_call_id") or message.get("name") or ""
        return {"type": "function_call_output", "call_id": call_id, "output": _text(message.get("content"))}
    return {
        "type": "message",
        "role": role if role in _ROLES else "unknown",
        "content": _parts(message, "output_text" if role == "assistant" else "input_text"),
    }


def _function(function: Any) -> dict[str, Any]:
    given = function if isinstance(function, dict) else {}
    return {"name": given.get("name", ""), "arguments": given.get("arguments", "")}


def _parts(message: Message, text_type: str) -> list[dict[str, Any]]:
    """Returns the content of a message as parts of an item."""
    content = message.get("content")
    given = content if isinstance(content, list) else [] if content is None else [{"type": "text", "text": content}]
    parts = [_part(part, text_type) for part in given if isinstance(part, dict)]
    if isinstance(message.get("refusal"), str):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    return parts


def _part(part: dict[str, Any], text_type: str) -> dict[str, Any]:
    if part.get("type") != "text":
        return media_part(part)
    text = {"type": text_type, "text": str(part.get("text", ""))}
    return {**text, "annotations": []} if text_type == "output_text" else text


def media_part(part: dict[str, Any]) -> dict[str, Any]:
    """Returns a picture or a file of a message as a part of an item; any other part as it is."""
    match part.get("type"):
        case "image_url":
            image = part.get("image_url")
            image = image if isinstance(image, dict) else {"url": image}
            return {"type": "input_image", "image_url": image.get("url"), "detail": image.get("detail") or "auto"}
        case "file":
            return {"type": "input_file", **(part.get("file") or {})}
        case _:
            return part


def _message(item: dict[str, Any]) -> Message:
    role, content = item.get("role"), item.get("content")
    if role not in _ROLES:
        raise ValueError("role: must be user, assistant, system or developer")
    if isinstance(content, str):
        return {"role": role, "content": content}
    if not isinstance(content, list):
        raise ValueError("content: must be a string or a list of parts")
    refusals = [part["refusal"] for part in content if _is(part, "refusal") and isinstance(part.get("refusal"), str)]
    parts = [_chat_part(part, number) for number, part in enumerate(content) if not _is(part, "refusal")]
    message: Message = {"role": role, "content": parts}
    if all(part["type"] == "text" for part in parts) and (role != "user" or len(parts) == 1):
        # Many servers take no list from an assistant.
        message["content"] = "".join(part["text"] for part in parts) if parts else None
    if refusals:
        message["refusal"] = "".join(refusals)
    return message


def _stored_message(item: dict[str, Any]) -> dict[str, Any]:
    """Returns the item of a message with its content as parts, as it is answered."""
    content = item.get("content")
    if not isinstance(content, str):
        return item
    kind = "output_text" if item.get("role") == "assistant" else "input_text"
    return {**item, "content": _parts({"content": content}, kind)}


def _chat_part(part: Any, number: int) -> dict[str, Any]:
    match part.get("type") if isinstance(part, dict) else None:
        case "input_text" | "output_text" | "text":
            if not isinstance(part.get("text"), str):
                raise ValueError(f"content.{number}.text: must be a string")
            return {"type": "text", "text": part["text"]}
        case "input_image" if isinstance(part.get("image_url"), str):
            detail = {"detail": part["detail"]} if part.get("detail") else {}
            return {"type": "image_url", "image_url": {"url": part["image_url"], **detail}}
        case "input_file" if part.get("file_data") or part.get("file_id"):
            file = {name: part[name] for name in ("file_data", "file_id", "filename") if part.get(name)}
            return {"type": "file", "file": file}
        case "input_audio" if isinstance(part.get("input_audio"), dict):
            return {"type": "input_audio", "input_audio": part["input_audio"]}
        case kind:
            raise ValueError(f"content.{number}: a part of type {kind!r} is not supported")


def _is(part: Any, kind: str) -> bool:
    return isinstance(part, dict) and part.get("type") == kind


def _string(item: dict[str, Any], field: str) -> str:
    value = item.get(field)
    if not isinstance(value, str):
        raise ValueError(f"{field}: must be a string")
    return value


def _output(output: Any) -> Any:
    """Returns what a tool's message says: text, or parts where there is more than text."""
    if isinstance(output, str):
        return output
    if not isinstance(output, list):
        raise ValueError("output: must be a string or a list of parts")
    parts = [_chat_part(part, number) for number, part in enumerate(output)]
    return "".join(part["text"] for part in parts) if all(part["type"] == "text" for part in parts) else parts


def _text(content: Any) -> str:
    """Returns the text of a tool's message."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
