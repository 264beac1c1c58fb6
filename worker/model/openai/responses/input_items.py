"""The messages of a chat-completions request to input items (pure)."""

from __future__ import annotations

from typing import Any, Final

from readalong.core.events import ITEMS
from readalong.core.thread_entries import MODEL_ID_END
from readalong.core.thread_items import media_part
from readalong.worker.model.openai.responses.errors import unsupported
from readalong.worker.model.openai.responses.json_values import mappings

#: Fields of a call that are translated. The others are the model's own, such as `namespace`.
_CALL_FIELDS: Final = frozenset({"id", "type", "index", "function", "custom"})


def input_of(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the items of these messages, in order. Raises ModelError for what no item can say."""
    items: list[dict[str, Any]] = []
    custom: set[str] = set()
    #: The id of the last call of each function, for the older form, which names the function alone.
    named: dict[str, str] = {}
    for message in messages:
        items += [_own_item(item) for item in mappings(message.get(ITEMS)) if not _is_empty(item)]
        role = message.get("role")
        if role == "tool":
            call_id = message.get("tool_call_id") or ""
            items.append(_output(call_id, message, custom=call_id in custom))
        elif role == "function":
            items.append(_output(named.get(message.get("name") or "", ""), message, custom=False))
        elif role == "assistant":
            items += _answer(message, custom, named, len(items))
        else:
            items.append({"role": role, "content": _content(message.get("content"))})
    return items


def _is_empty(item: dict[str, Any]) -> bool:
    """Returns whether it is reasoning of which there is only a summary. OpenAI would look for the rest under its id."""
    return item.get("type") == "reasoning" and not item.get("encrypted_content") and not item.get("content")


def _own_item(item: dict[str, Any]) -> dict[str, Any]:
    """Returns an item as the model gave it; see `with_model_id`. Raises ModelError."""
    if item.get("type") == "item_reference":
        # It would reach what is stored under the worker's key.
        raise unsupported("`item_reference`")
    own, mark, content = str(item.get("encrypted_content") or "").partition(MODEL_ID_END)
    return {**item, "id": own, "encrypted_content": content} if mark else item


def _answer(message: dict[str, Any], custom: set[str], named: dict[str, str], place: int) -> list[dict[str, Any]]:
    """Returns the items of an assistant's message, the first at this place. Adds its calls to `custom` and `named`."""
    if message.get("audio"):
        raise unsupported("`audio` of an assistant")
    items: list[dict[str, Any]] = []
    text, refusal = _text(message.get("content")), message.get("refusal")
    if refusal:
        parts = [{"type": "output_text", "text": text, "annotations": []}] if text else []
        said = {"content": [*parts, {"type": "refusal", "refusal": refusal}], "role": "assistant"}
        items.append({"type": "message", "id": f"msg_{place}", "status": "completed", **said})
    elif text:
        items.append({"role": "assistant", "content": text})
    for call in mappings(message.get("tool_calls")):
        call_id = call.get("id") or ""
        rest = {name: each for name, each in call.items() if name not in _CALL_FIELDS and each is not None}
        if call.get("type") == "custom":
            custom.add(call_id)
            made = call.get("custom") or {}
            fields = {"type": "custom_tool_call", "name": made.get("name"), "input": made.get("input") or ""}
        else:
            made = call.get("function") or {}
            fields = {"type": "function_call", "name": made.get("name"), "arguments": made.get("arguments") or "{}"}
        items.append({**rest, **fields, "call_id": call_id})
    if called := message.get("function_call"):
        call_id = named[called.get("name") or ""] = f"call_{place}"
        made = {"name": called.get("name"), "arguments": called.get("arguments") or "{}"}
        items.append({"type": "function_call", **made, "call_id": call_id})
    return items


def _text(content: Any) -> str:
    """Returns the text of an assistant's message, whose parts can be nothing else."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or part.get("refusal") or "") for part in mappings(content))
    return content or ""


def _output(call_id: str, message: dict[str, Any], *, custom: bool) -> dict[str, Any]:
    kind = "custom_tool_call_output" if custom else "function_call_output"
    return {"type": kind, "call_id": call_id, "output": _content(message.get("content"))}


def _content(content: Any) -> Any:
    if content is None:
        return ""
    return [_part(part) for part in content] if isinstance(content, list) else content


def _part(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    if part.get("type") == "text":
        return {"type": "input_text", "text": part.get("text", "")}
    return media_part(part)
