"""The body of `POST /api/chat`, as `useChat` sends it, to a chat-completions request and a turn of a thread (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from readalong.api.http.request_body import unencodable
from readalong.api.submission.chat_request import MAX_MESSAGES
from readalong.api.submission.own_options import own_options
from readalong.api.wire.ai_sdk import OURS
from readalong.core.errors import InvalidRequest
from readalong.core.thread_entries import Message, entries_of
from readalong.store.threads import MAX_NAME_LENGTH, WHOLE, Turn

_ROLES: Final = ("system", "user", "assistant")
_SUBMIT: Final = "submit-message"
_REGENERATE: Final = "regenerate-message"
#: Fields of the body that are read here; all others are the model's parameters.
_READ: Final = frozenset({"id", "messages", "message", "trigger", "messageId", "system", OURS})
#: Parameters that are not taken, and what to do instead.
_REFUSED: Final = {
    "functions": "use tools",
    "function_call": "use tool_choice",
    "thread": "the chat's id is its thread",
    "thread_policy": f"use {OURS}.thread_policy",
}
_DATA_URL: Final = re.compile(r"data:([^;,]*)[^,]*;base64,(.*)", re.DOTALL)
_AUDIO: Final = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


@dataclass(frozen=True, slots=True)
class AiSdkRequest:
    """`body`: of the job, and its JSON, `raw`. `turn`: None if the client names no chat. `continued`: the message
    that the answer continues, since the tools that it called have given their results; None for a new one."""

    body: dict[str, Any]
    raw: bytes
    turn: Turn | None
    continued: Message | None


def ai_sdk_request(body: dict[str, Any]) -> AiSdkRequest:
    """Raises InvalidRequest, which names the wrong field."""
    chat_id, trigger = body.get("id", ""), body.get("trigger", _SUBMIT)
    if not isinstance(chat_id, str) or len(chat_id) > MAX_NAME_LENGTH:
        raise _wrong("id", f"The chat's id must be a string of at most {MAX_NAME_LENGTH} characters")
    if trigger not in (_SUBMIT, _REGENERATE):
        raise _wrong("trigger", f"Must be {_SUBMIT} or {_REGENERATE}")
    for name, instead in _REFUSED.items():
        if body.get(name) is not None:
            raise _wrong(name, f"Not taken here; {instead}")
    if body.get("n") not in (None, 1):
        raise _wrong("n", "The AI SDK's stream has one answer")
    newest, said, leading = _said(body, chat_id, trigger)
    options, policy = own_options(body.get(OURS), OURS)
    turn = Turn(entries_of(said), chat_id, policy, leading=leading) if chat_id else None
    if (system := body.get("system")) is not None:
        if not isinstance(system, str):
            raise _wrong("system", "Must be a string")
        said = [{"role": "system", "content": system}, *said]
        turn = turn and replace(turn, leading=WHOLE if leading == WHOLE else 1)
    request = {name: value for name, value in body.items() if name not in _READ}
    request |= {"messages": said, **options}
    continued = newest if newest["role"] == "assistant" and newest.get("id") and trigger == _SUBMIT else None
    try:
        return AiSdkRequest(request, orjson.dumps(request), turn, continued)
    except orjson.JSONEncodeError:
        raise unencodable(request) from None


def _said(body: dict[str, Any], chat_id: str, trigger: str) -> tuple[Message, list[Message], int]:
    """Returns the newest UI message, the chat messages, and `Turn.leading`: `messages` are the whole chat, `message` is
    what the stored chat does not have."""
    messages, message = body.get("messages"), body.get("message")
    if message is None:
        if not isinstance(messages, list) or not 1 <= len(messages) <= MAX_MESSAGES:
            raise _wrong("messages", f"Must be a list of 1 to {MAX_MESSAGES:,} messages")
        found = [said for number, each in enumerate(messages) for said in _convert(each, f"messages.{number}")]
        if not found:
            raise _wrong("messages", "No message says anything")
        return messages[-1], found, WHOLE
    if messages is not None:
        raise _wrong("message", "There are `messages`, too; send the one or the other")
    if not chat_id:
        raise _wrong("id", "A `message` needs its chat's id")
    if trigger == _REGENERATE:
        raise _wrong("trigger", f"{_REGENERATE} needs all `messages`")
    found = _convert(message, "message")
    if message["role"] == "assistant":
        # The thread has the calls, but the results of the last ones.
        asked = max((number for number, each in enumerate(found) if each["role"] == "assistant"), default=0)
        found = found[asked + 1 :]
        if not found:
            raise _wrong("message", "Its last step has no tool's result")
    return message, found, 0


def _convert(message: Any, field: str) -> list[Message]:
    if not isinstance(message, dict):
        raise _wrong(field, "Must be an object")
    role, parts = message.get("role"), message.get("parts")
    if role not in _ROLES:
        raise _wrong(f"{field}.role", f"Must be {', '.join(_ROLES)}")
    if not isinstance(message.get("id", ""), str):
        raise _wrong(f"{field}.id", "Must be a string")
    if not isinstance(parts, list) or len(parts) > MAX_MESSAGES:
        raise _wrong(f"{field}.parts", f"Must be a list of at most {MAX_MESSAGES:,} parts")
    for number, part in enumerate(parts):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise _wrong(f"{field}.parts.{number}", "Must be an object with a type")
    if role == "assistant":
        return list(_assistant(parts, field))
    if role == "system":
        return [{"role": "system", "content": _text_of(parts, field)}]
    return [{"role": "user", "content": _user_content(parts, field)}]


def _text(part: dict[str, Any], field: str) -> str:
    text = part.get("text")
    if not isinstance(text, str):
        raise _wrong(f"{field}.text", "Must be a string")
    return text


def _text_of(parts: list[dict[str, Any]], field: str) -> str:
    """Returns the text parts, joined."""
    return "".join(_text(part, f"{field}.parts.{n}") for n, part in enumerate(parts) if part["type"] == "text")


def _user_content(parts: list[dict[str, Any]], field: str) -> str | list[dict[str, Any]]:
    content = []
    for number, part in enumerate(parts):
        where = f"{field}.parts.{number}"
        if part["type"] == "text":
            content.append({"type": "text", "text": _text(part, where)})
        elif part["type"] == "file":
            content.append(_file(part, where))
    if not content:
        raise _wrong(f"{field}.parts", "There is neither text nor a file")
    if len(content) == 1 and content[0]["type"] == "text":
        text: str = content[0]["text"]
        return text
    return content


def _file(part: dict[str, Any], field: str) -> dict[str, Any]:
    kind, url = part.get("mediaType"), part.get("url")
    if not isinstance(kind, str):
        raise _wrong(f"{field}.mediaType", "Must be a string")
    if not isinstance(url, str):
        raise _wrong(f"{field}.url", "Must be a string")
    if kind.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    data = _DATA_URL.fullmatch(url)
    if kind in _AUDIO:
        if data is None:
            raise _wrong(f"{field}.url", "Sound must be a data URL")
        return {"type": "input_audio", "input_audio": {"data": data[2], "format": _AUDIO[kind]}}
    if kind == "application/pdf":
        if data is None:
            raise _wrong(f"{field}.url", "A PDF must be a data URL")
        return {"type": "file", "file": {"filename": str(part.get("filename") or "file.pdf"), "file_data": url}}
    raise _wrong(f"{field}.mediaType", "Must be an image, sound (WAV, MP3) or a PDF")


def _assistant(parts: list[dict[str, Any]], field: str) -> Iterator[Message]:
    """Each step is a message of the assistant and the results of its calls. Reasoning, files and sources are not sent
    back, as chat completions have no place for them."""
    step: list[tuple[str, dict[str, Any]]] = []
    steps = [step]
    for number, part in enumerate(parts):
        if _voids(part):
            steps.clear()
        if part["type"] == "step-start" or _voids(part):
            step = []
            steps.append(step)
        step.append((f"{field}.parts.{number}", part))
    for step in steps:
        text = "".join(_text(part, where) for where, part in step if part["type"] == "text")
        calls: list[dict[str, Any]] = []
        results: list[Message] = []
        for where, part in step:
            if part["type"] == "dynamic-tool" or part["type"].startswith("tool-"):
                output = _output(part, where)
                # Models refuse a call without a result: the user went on without it.
                if output is not None:
                    calls.append(call := _call(part, where))
                    results.append({"role": "tool", "tool_call_id": call["id"], "content": output})
        if text or calls:
            yield {"role": "assistant", "content": text or None, **({"tool_calls": calls} if calls else {})}
            yield from results


def _voids(part: dict[str, Any]) -> bool:
    """Returns whether the parts before this one are a lost attempt's."""
    data = part.get("data")
    return part["type"] == f"data-{OURS}" and isinstance(data, dict) and data.get("status") == "restarted"


def _call(part: dict[str, Any], field: str) -> dict[str, Any]:
    call_id = part.get("toolCallId")
    name = part.get("toolName") if part["type"] == "dynamic-tool" else part["type"].removeprefix("tool-")
    if not isinstance(call_id, str):
        raise _wrong(f"{field}.toolCallId", "Must be a string")
    if not isinstance(name, str):
        raise _wrong(f"{field}.toolName", "Must be a string")
    given = part.get("input")
    if given is None:
        given = part.get("rawInput")
    metadata = part.get("callProviderMetadata")
    kept = metadata.get(OURS) if isinstance(metadata, dict) else None
    kept = dict(kept) if isinstance(kept, dict) else {}
    custom = kept.pop("type", "") == "custom"
    # Text that is the input of a custom tool, or that the model meant to be JSON.
    as_is = isinstance(given, str) and (custom or part.get("state") == "output-error")
    said = given if as_is else _json({} if given is None else given, f"{field}.input")
    if custom:
        return {**kept, "id": call_id, "type": "custom", "custom": {"name": name, "input": said}}
    return {**kept, "id": call_id, "type": "function", "function": {"name": name, "arguments": said}}


def _output(part: dict[str, Any], field: str) -> str | None:
    """Returns what a tool has returned, as text; None if it has not."""
    approval = part.get("approval")
    match part.get("state"):
        case "output-available":
            output = part.get("output")
            return output if isinstance(output, str) else _json(output, f"{field}.output")
        case "output-error":
            return str(part.get("errorText") or "The tool failed.")
        case "output-denied" | "approval-responded":
            if not isinstance(approval, dict) or approval.get("approved"):
                return None if part["state"] == "approval-responded" else "The call was denied."
            return str(approval.get("reason") or "The call was denied.")
        case _:
            return None


def _json(value: Any, field: str) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        raise unencodable({field: value}) from None


def _wrong(field: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {why}.", field=field)
