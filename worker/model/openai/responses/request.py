"""A job's chat-completions request to a Responses request (pure).

Each parameter is translated, passed on under its own name, or refused by its name. None is ignored.
"""

from __future__ import annotations

from typing import Any, Final

from readalong.worker.model.openai.responses.errors import unsupported
from readalong.worker.model.openai.responses.input_items import input_of

#: Parameters that the Responses API does not have. It would refuse some, and ignore others.
_REFUSED: Final = (
    *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "modalities", "n", "prediction"),
    *("presence_penalty", "seed", "stop", "web_search_options"),
)
#: Parameters of the Responses API that reach what is stored under the worker's key, or contradict the job.
_NOT_OURS: Final = ("background", "conversation", "input", "previous_response_id", "prompt")
#: Values of these parameters that ask for nothing.
_IDLE: Final[dict[str, Any]] = {
    "n": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "modalities": ["text"],
    "function_call": "none",
}
_TRANSLATED: Final = frozenset(
    {
        *("messages", "max_tokens", "max_completion_tokens", "response_format", "verbosity", "reasoning_effort"),
        *("logprobs", "tools", "tool_choice", "include", "reasoning", "text", "stream_options", "store", "metadata"),
        *_REFUSED,
        *_NOT_OURS,
    }
)
_LOGPROBS: Final = "message.output_text.logprobs"
_TOOLS: Final = ("function", "custom")


def to_responses(chat: dict[str, Any]) -> dict[str, Any]:
    """Returns the request. Raises ModelError for a parameter that it cannot say."""
    for name in _REFUSED:
        value = chat.get(name)
        if value not in (None, [], {}) and value != _IDLE.get(name):
            raise unsupported(f"`{name}`")
    for name in _NOT_OURS:
        if chat.get(name) is not None:
            raise unsupported(f"`{name}`")
    asked = {name: value for name, value in chat.items() if name not in _TRANSLATED and value is not None}
    asked["input"] = input_of(chat.get("messages") or [])
    # The thread keeps what was said. A copy at the model's side would outlive its erasure.
    asked["store"] = False
    _add_text(chat, asked)
    _add_tools(chat, asked)
    tokens = chat.get("max_completion_tokens") or chat.get("max_tokens")
    if tokens is not None:
        asked["max_output_tokens"] = tokens
    reasoning = dict(_mapping(chat, "reasoning"))
    if chat.get("reasoning_effort") is not None:
        reasoning["effort"] = chat["reasoning_effort"]
    if reasoning:
        asked["reasoning"] = reasoning
    include = list(chat.get("include") or [])
    if chat.get("logprobs") and _LOGPROBS not in include:
        include.append(_LOGPROBS)
    if include:
        asked["include"] = include
    options = _mapping(chat, "stream_options")
    if options.get("include_obfuscation") is not None:
        # Usage comes unasked.
        asked["stream_options"] = {"include_obfuscation": options["include_obfuscation"]}
    return asked


def _add_text(chat: dict[str, Any], asked: dict[str, Any]) -> None:
    text = dict(_mapping(chat, "text"))
    given = _mapping(chat, "response_format")
    if given.get("type") == "json_schema":
        text["format"] = {"type": "json_schema", **_mapping(given, "json_schema")}
    elif given:
        text["format"] = given
    if chat.get("verbosity") is not None:
        text["verbosity"] = chat["verbosity"]
    if text:
        asked["text"] = text


def _add_tools(chat: dict[str, Any], asked: dict[str, Any]) -> None:
    tools = chat.get("tools")
    if tools:
        if not isinstance(tools, list):
            raise unsupported("these `tools`")
        asked["tools"] = [_tool(tool) for tool in tools]
    choice = chat.get("tool_choice")
    if choice is not None:
        asked["tool_choice"] = choice if isinstance(choice, str) else _choice(choice)


def _tool(tool: Any) -> dict[str, Any]:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind not in _TOOLS:
        # A hosted tool works with what the account of the worker's key may read, and that pays for it.
        raise unsupported(f"tools of the type `{str(kind)[:80]}` here")
    fields = dict(_mapping(tool, kind))
    if kind == "function":
        # Without `strict` a function is strict there, and is not here.
        fields["strict"] = bool(fields.get("strict"))
        fields["parameters"] = fields.get("parameters") or {"type": "object", "properties": {}}
    elif _mapping(fields, "format").get("type") == "grammar":
        fields["format"] = {"type": "grammar", **_mapping(fields["format"], "grammar")}
    return {"type": kind, **fields}


def _choice(choice: Any) -> dict[str, Any]:
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind == "allowed_tools":
        allowed = _mapping(choice, kind)
        return {"type": kind, **allowed, "tools": [_choice(tool) for tool in allowed.get("tools") or []]}
    if kind not in _TOOLS:
        raise unsupported("this `tool_choice`")
    return {"type": kind, "name": _mapping(choice, kind).get("name")}


def _mapping(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns the object in a field, {} if there is none. Raises ModelError for anything else."""
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise unsupported(f"a `{name}` that is no object")
    return value
