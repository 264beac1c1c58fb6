"""The body of `POST /agui`, AG-UI's RunAgentInput, to a chat-completions request and a turn of a thread (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from readalong.api.http.request_body import unencodable
from readalong.api.submission.chat_request import MAX_ITEMS, MAX_MESSAGES
from readalong.api.submission.own_options import own_options
from readalong.api.wire.ag_ui import OURS
from readalong.core.errors import InvalidRequest
from readalong.core.thread_entries import Message, entries_of
from readalong.store.threads import MAX_NAME_LENGTH, WHOLE, Turn

#: Characters of a run's id.
_MAX_RUN_ID: Final = 250
_PROPS: Final = "forwardedProps"
#: Fields of the input. An unknown one is an error, not a wish that is ignored.
_FIELDS: Final = frozenset(
    {"threadId", "runId", "parentRunId", "protocolVersion", "messages", "tools", "context", "state", "resume", _PROPS}
)
#: Forwarded properties that are not taken, and what to do instead.
_REFUSED: Final = {
    "messages": "the input has them",
    "tools": "the input has them",
    "functions": "use the input's tools",
    "function_call": "use tool_choice",
    "thread": "the input has threadId",
    "thread_policy": f"use {OURS}.thread_policy",
}
_AUDIO: Final = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


@dataclass(frozen=True, slots=True)
class AgUiRequest:
    """`body`: of the job, and its JSON, `raw`. `messages`: the input's, as a JSON array, for the run's snapshots."""

    thread_id: str
    run_id: str
    parent_run_id: str
    body: dict[str, Any]
    raw: bytes
    turn: Turn
    messages: bytes


def ag_ui_request(body: dict[str, Any]) -> AgUiRequest:
    """Raises InvalidRequest, which names the wrong field."""
    for name in body:
        if name not in _FIELDS:
            raise _wrong(name, f"Unknown field; there are {', '.join(sorted(_FIELDS))}", "unknown")
    thread_id, run_id = _name(body.get("threadId"), "threadId", MAX_NAME_LENGTH), _name(body.get("runId"), "runId")
    parent = body.get("parentRunId")
    parent_id = "" if parent is None else _name(parent, "parentRunId")
    version = body.get("protocolVersion")
    if version is not None and (not isinstance(version, str) or version.partition(".")[0] != "1"):
        raise _wrong("protocolVersion", "Must be 1.0")
    if body.get("state") not in (None, {}):
        raise _wrong("state", "A run has no shared state here; say what the model must know in context", "unsupported")
    if body.get("resume") not in (None, []):
        raise _wrong("resume", "No run is interrupted here", "unsupported")
    given = _objects(body.get("messages"), "messages", MAX_MESSAGES, least=1)
    # By their text: what is wrong with an id, and cannot be in a set, is told below.
    answered = {str(each.get("toolCallId")) for each in given if each.get("role") == "tool"}
    said = [message for number, each in enumerate(given) for message in _convert(each, f"messages.{number}", answered)]
    if not said:
        raise _wrong("messages", "No message says anything")
    props = body.get(_PROPS)
    if not isinstance(props, dict | None):
        raise _wrong(_PROPS, "Must be an object")
    props = dict(props or {})
    options, policy = own_options(props.pop(OURS, None), f"{_PROPS}.{OURS}")
    request = _parameters(props) | {"messages": [*_context(body.get("context")), *said], **options}
    if tools := _objects(body.get("tools"), "tools", MAX_ITEMS):
        request["tools"] = [_tool(tool, f"tools.{number}") for number, tool in enumerate(tools)]
    # A client refuses null where a field may be left out.
    told = [{name: value for name, value in each.items() if value is not None} for each in given]
    turn = Turn(entries_of(said), thread_id, policy, leading=WHOLE)
    try:
        raw = orjson.dumps(request)
        return AgUiRequest(thread_id, run_id, parent_id, request, raw, turn, orjson.dumps(told))
    except orjson.JSONEncodeError:
        raise unencodable(body) from None


def _name(given: Any, field: str, most: int = _MAX_RUN_ID) -> str:
    if not isinstance(given, str) or not 1 <= len(given) <= most:
        raise _wrong(field, f"Must be a string of 1 to {most} characters")
    return given


def _objects(given: Any, field: str, most: int, least: int = 0) -> list[dict[str, Any]]:
    if given is None and not least:
        return []
    if not isinstance(given, list) or not least <= len(given) <= most:
        raise _wrong(field, f"Must be a list of {least} to {most:,} objects")
    for number, each in enumerate(given):
        if not isinstance(each, dict):
            raise _wrong(f"{field}.{number}", "Must be an object")
    return given


def _parameters(props: dict[str, Any]) -> dict[str, Any]:
    for name, instead in _REFUSED.items():
        if props.get(name) is not None:
            raise _wrong(f"{_PROPS}.{name}", f"Not taken here; {instead}", "unsupported")
    if props.get("n") not in (None, 1):
        raise _wrong(f"{_PROPS}.n", "A run has one answer", "unsupported")
    return props


def _context(given: Any) -> list[Message]:
    """Returns what the application tells besides the conversation, as instructions before it."""
    told = []
    for number, each in enumerate(_objects(given, "context", MAX_ITEMS)):
        about, value = (_string(each, name, f"context.{number}") for name in ("description", "value"))
        told.append(f"{about}:\n{value}")
    return [{"role": "system", "content": "\n\n".join(told)}] if told else []


def _tool(tool: dict[str, Any], field: str) -> dict[str, Any]:
    function = {name: _string(tool, name, field) for name in ("name", "description")}
    parameters = tool.get("parameters")
    return {"type": "function", "function": function if parameters is None else {**function, "parameters": parameters}}


def _convert(message: dict[str, Any], field: str, answered: set[str]) -> Iterator[Message]:
    """Reasoning and activities are not sent back: chat completions have no place for them."""
    role, named = message.get("role"), {}
    if message.get("name") is not None:
        named = {"name": _string(message, "name", field)}
    match role:
        case "developer" | "system":
            yield {"role": role, "content": _string(message, "content", field), **named}
        case "user":
            yield {"role": role, "content": _content(message.get("content"), f"{field}.content"), **named}
        case "tool":
            yield {
                "role": role,
                "tool_call_id": _string(message, "toolCallId", field),
                "content": _result(message, field),
            }
        case "assistant":
            calls = _calls(message, field, answered)
            content = None if message.get("content") is None else _string(message, "content", field)
            if content or calls:
                yield {"role": role, "content": content or None, **named, **({"tool_calls": calls} if calls else {})}
        case "reasoning" | "activity":
            pass
        case _:
            raise _wrong(f"{field}.role", "Must be developer, system, user, assistant, tool, reasoning or activity")


def _calls(message: dict[str, Any], field: str, answered: set[str]) -> list[dict[str, Any]]:
    """Returns the calls that have a result: models refuse the others."""
    found = []
    for number, call in enumerate(_objects(message.get("toolCalls"), f"{field}.toolCalls", MAX_ITEMS)):
        where = f"{field}.toolCalls.{number}"
        function, metadata = call.get("function"), call.get("metadata")
        if not isinstance(function, dict):
            raise _wrong(f"{where}.function", "Must be an object")
        told = {name: _string(function, name, f"{where}.function") for name in ("name", "arguments")}
        kept = metadata.get(OURS) if isinstance(metadata, dict) else None
        ours = kept if isinstance(kept, dict) else {}
        if (call_id := _string(call, "id", where)) in answered:
            found.append({**ours, "id": call_id, "type": "function", "function": told})
    return found


def _result(message: dict[str, Any], field: str) -> str:
    """Returns what a tool has returned, and why it failed, as text."""
    content = message.get("content")
    if isinstance(content, list):
        parts = _parts(content, f"{field}.content")
        if any(part["type"] != "text" for part in parts):
            raise _wrong(f"{field}.content", "A tool's result must be text", "unsupported")
        content = "".join(part["text"] for part in parts)
    elif not isinstance(content, str):
        raise _wrong(f"{field}.content", "Must be a string or a list of parts")
    if message.get("error") is None:
        return content
    return "\n".join(told for told in (content, f"Error: {_string(message, 'error', field)}") if told)


def _content(content: Any, field: str) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    parts = _parts(content, field)
    if not parts:
        raise _wrong(field, "Must be a string, or parts that say something")
    return parts


def _parts(content: Any, field: str) -> list[dict[str, Any]]:
    given = _objects(content, field, MAX_MESSAGES)
    return [_part(part, f"{field}.{number}") for number, part in enumerate(given)]


def _part(part: dict[str, Any], field: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "text":
        return {"type": "text", "text": _string(part, "text", field)}
    if kind not in ("image", "audio", "document"):
        raise _wrong(f"{field}.type", "Must be text, image, audio or document", "unsupported")
    source = part.get("source")
    if not isinstance(source, dict) or source.get("type") not in ("data", "url"):
        raise _wrong(f"{field}.source", "Must be of the type data or url", "unsupported")
    value, media = _string(source, "value", f"{field}.source"), str(source.get("mimeType"))
    if kind == "image" and source["type"] == "url":
        return {"type": "image_url", "image_url": {"url": value}}
    if source["type"] == "url":
        raise _wrong(f"{field}.source", "Sound and documents must be data", "unsupported")
    if kind == "image" and media.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": f"data:{media};base64,{value}"}}
    if kind == "audio" and media in _AUDIO:
        return {"type": "input_audio", "input_audio": {"data": value, "format": _AUDIO[media]}}
    if kind == "document" and media == "application/pdf":
        file = {"filename": "file.pdf", "file_data": f"data:{media};base64,{value}"}
        return {"type": "file", "file": file}
    raise _wrong(f"{field}.source.mimeType", "Must be an image, sound (WAV, MP3) or a PDF", "unsupported")


def _string(given: dict[str, Any], name: str, field: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise _wrong(f"{field}.{name}", "Must be a string", "missing" if value is None else "type")
    return value


def _wrong(field: str, why: str, mistake: str = "value") -> InvalidRequest:
    return InvalidRequest(f"{field}: {why}.", field=field, mistake=mistake)
