"""Input items of the Responses API to entries: what the model gets of each, and the item as it is kept (pure)."""

from __future__ import annotations

import re
from typing import Any, Final

from readalong.api.submission import openai_mistakes as check
from readalong.api.submission.chat_request import MAX_MESSAGES
from readalong.api.wire.openai_responses.output import model_call_id
from readalong.core.thread_entries import Entry, new_entry_id
from readalong.core.thread_items import entry_of

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
_ROLES: Final = ("assistant", "system", "developer", "user")
_CALLS: Final = ("function_call", "custom_tool_call")
_OUTPUTS: Final = ("function_call_output", "custom_tool_call_output")
_TYPES: Final = ("message", "reasoning", *_CALLS, *_OUTPUTS, "item_reference")
#: Items of hosted tools. Only a model that is asked by the Responses API makes and gets them.
_NATIVE_ALONE: Final = (
    *("code_interpreter_call", "compaction", "file_search_call", "image_generation_call", "mcp_call"),
    *("mcp_list_tools", "web_search_call"),
)
_NATIVE_TYPES: Final = (*_TYPES, *_NATIVE_ALONE)
_PARTS: Final = ("input_text", "input_image", "input_file", "input_audio")
_SAID_PARTS: Final = ("output_text", "refusal")
#: What items of calls have besides the fields that the model itself adds.
_CALL_FIELDS: Final = frozenset(
    {"id", "type", "status", "call_id", "name", "arguments", "input", "namespace", "caller", "async"}
)


def references(given: Any) -> list[str]:
    """Returns the ids of the items that the input only names."""
    found = []
    for number, item in enumerate(given if isinstance(given, list) else []):
        if isinstance(item, dict) and item.get("type") == "item_reference":
            found.append(check.needed(item, "id", f"input[{number}].id"))
    return found


def read_input(
    given: Any, known: dict[str, dict[str, Any]], name: str = "input", *, native: bool = False
) -> list[Entry]:
    """Returns the entries of `input`. `known`: the items that its references name. `name`: the parameter's. `native`:
    the model gets encrypted reasoning and items of hosted tools as they are.

    Raises InvalidRequest."""
    if isinstance(given, str):
        return [entry_of({"type": "message", "role": "user", "content": given})]
    if not isinstance(given, list):
        raise check.wrong_type(name, "one of an array of objects or a string", given)
    if len(given) > MAX_MESSAGES:
        raise check.mistake(
            f"Invalid '{name}': array too long. Expected an array with maximum length {MAX_MESSAGES}, "
            f"but got an array with length {len(given)} instead.",
            "array_above_max_length",
            name,
        )
    entries: list[Entry] = []
    reasoning = ""
    for number, each in enumerate(check.objects(given, name)):
        param = f"{name}[{number}]"
        item = _referenced(each, known, param) if each.get("type") == "item_reference" else each
        kind = _type(item, param, _NATIVE_TYPES if native else _TYPES)
        if kind in _NATIVE_ALONE:
            entries.append(Entry(item.get("id") or new_entry_id(kind), None, item))
            continue
        _CHECKS[kind](item, param)
        if kind == "reasoning" and not native:
            _refuse_encrypted(item, param)
        entry = _entry(item, kind, param)
        if kind == "reasoning":
            reasoning = _reasoning(item)
        elif kind in _CALLS and reasoning:
            # Models that think between calls of tools want their thoughts back, up to their answer.
            assert entry.message is not None
            entry = Entry(entry.id, {**entry.message, "reasoning_content": reasoning}, entry.item)
            reasoning = ""
        elif kind != "message" or item.get("role") != "assistant":
            reasoning = ""
        entries.append(entry)
    return entries


def _type(item: dict[str, Any], param: str, types: tuple[str, ...]) -> str:
    item_id = check.text(item, "id", f"{param}.id")
    if item_id is not None and not _ID.fullmatch(item_id):
        message = (
            f"Invalid '{param}.id': '{item_id[:100]}'. Expected an ID that contains letters, numbers, underscores, or "
            "dashes, but this value contained additional characters."
        )
        raise check.mistake(message, "invalid_value", f"{param}.id")
    kind = check.text(item, "type", f"{param}.type")
    if kind is None and "role" in item:
        return "message"
    if kind is None:
        raise check.missing(f"{param}.type")
    if kind not in types:
        raise check.wrong_value(f"{param}.type", kind, types)
    return kind


def _referenced(item: dict[str, Any], known: dict[str, dict[str, Any]], param: str) -> dict[str, Any]:
    item_id = check.needed(item, "id", f"{param}.id")
    if item_id not in known:
        raise check.mistake(f"Item with id '{item_id[:100]}' not found.", "invalid_value", f"{param}.id")
    return known[item_id]


def _entry(item: dict[str, Any], kind: str, param: str) -> Entry:
    try:
        entry = entry_of({"type": kind, **item})
    except ValueError as error:
        where, _, why = str(error).partition(": ")
        raise check.mistake(f"Invalid '{param}.{where}': {why}.", "invalid_value", f"{param}.{where}") from None
    message = entry.message
    if message is None:
        return entry
    message = dict(message)
    if message["role"] == "developer":
        # Every server knows `system`; OpenAI treats both alike.
        message["role"] = "system"
    if kind in _CALLS:
        rest = {name: value for name, value in item.items() if name not in _CALL_FIELDS}
        [call] = message["tool_calls"]
        message["tool_calls"] = [{**call, **rest, "id": model_call_id(item["call_id"])}]
    elif kind in _OUTPUTS:
        message["tool_call_id"] = model_call_id(item["call_id"])
    return Entry(entry.id, message, entry.item)


def _check_message(item: dict[str, Any], param: str) -> None:
    role = check.needed(item, "role", f"{param}.role")
    if role not in _ROLES:
        raise check.wrong_value(f"{param}.role", role, _ROLES)
    content = item.get("content")
    if content is None:
        raise check.missing(f"{param}.content")
    if not isinstance(content, str):
        _check_parts(content, f"{param}.content", _SAID_PARTS if role == "assistant" else _PARTS)


def _check_parts(parts: Any, param: str, supported: tuple[str, ...]) -> None:
    if not isinstance(parts, list):
        raise check.wrong_type(param, "one of an array of objects or a string", parts)
    for number, part in enumerate(check.objects(parts, param)):
        place = f"{param}[{number}]"
        kind = check.needed(part, "type", f"{place}.type")
        if kind not in supported:
            raise check.wrong_value(f"{place}.type", kind, supported)
        if kind in ("input_text", "output_text"):
            check.needed(part, "text", f"{place}.text")
        elif kind == "refusal":
            check.needed(part, "refusal", f"{place}.refusal")
        elif kind == "input_image":
            if part.get("file_id") is not None:
                raise check.unsupported(f"{place}.file_id", "is not supported: the API keeps no files. Use 'image_url'")
            check.needed(part, "image_url", f"{place}.image_url")
        elif kind == "input_file" and part.get("file_url") is not None:
            raise check.unsupported(f"{place}.file_url", "is not supported: the API fetches no files. Use 'file_data'")
        elif kind == "input_file" and not (part.get("file_data") or part.get("file_id")):
            raise check.missing(f"{place}.file_data")


def _check_call(item: dict[str, Any], param: str) -> None:
    for name in ("call_id", "name", "input" if item["type"] == "custom_tool_call" else "arguments"):
        check.needed(item, name, f"{param}.{name}")
    for name in ("namespace", "caller"):
        if item.get(name) is not None:
            raise check.unsupported(f"{param}.{name}")


def _check_output(item: dict[str, Any], param: str) -> None:
    check.needed(item, "call_id", f"{param}.call_id")
    output = item.get("output")
    if output is None:
        raise check.missing(f"{param}.output")
    if not isinstance(output, str):
        _check_parts(output, f"{param}.output", _PARTS)


def _check_reasoning(item: dict[str, Any], param: str) -> None:
    for name in ("summary", "content"):
        for number, part in enumerate(check.objects(item.get(name), f"{param}.{name}")):
            check.needed(part, "text", f"{param}.{name}[{number}].text")


def _refuse_encrypted(item: dict[str, Any], param: str) -> None:
    if item.get("encrypted_content") and not _reasoning(item):
        raise check.mistake(
            "The encrypted content of a reasoning item could not be read: another API has encrypted it.",
            "invalid_encrypted_content",
            f"{param}.encrypted_content",
        )


def _reasoning(item: dict[str, Any]) -> str:
    parts = item.get("content") or item.get("summary") or []
    return "".join(part["text"] for part in parts)


_CHECKS: Final = {
    "message": _check_message,
    "reasoning": _check_reasoning,
    **dict.fromkeys(_CALLS, _check_call),
    **dict.fromkeys(_OUTPUTS, _check_output),
}
