"""A chat completion request, checked as OpenAI checks it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from readalong.testing.behaviours import Behaviour
from readalong.testing.errors import bad_request
from readalong.testing.limits import (
    MAX_MESSAGES,
    MAX_MODEL_NAME,
    MAX_TEXT,
    MAX_TOKENS,
    MAX_TOOL_NAME,
    MAX_TOOLS,
)
from readalong.testing.profile import Profile, parse_profile

ROLES = ("assistant", "developer", "function", "system", "tool", "user")
MAX_CHOICES = 128
MAX_STOPS = 4

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """The fields of a request body that decide the answer. All others are ignored."""

    model: str
    messages: tuple[Json, ...]
    text: str
    """The start of the user's last message; empty if there is none."""
    stream: bool
    include_usage: bool
    n: int
    max_tokens: int | None
    stop: tuple[str, ...]
    tools: tuple[Json, ...]
    """The `function` objects of the request's tools."""
    functions: tuple[Json, ...]
    """The legacy form."""
    tool_choice: object
    function_call: object
    parallel: bool
    logprobs: bool
    top_logprobs: int
    schema: Json | None
    """The JSON schema of the text; None: it is prose."""
    profile: Profile
    call: int = 1
    """The number of requests with this key so far, this one included. No field of the body tells it."""

    @property
    def seed(self) -> int:
        """Returns a number that depends on the messages alone."""
        digest = hashlib.sha256(orjson.dumps(self.messages, option=orjson.OPT_SORT_KEYS)).digest()
        return int.from_bytes(digest[:8], "big")


def text_of(content: object) -> str:
    """Returns the text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, Mapping))
    return " ".join(part for part in parts if isinstance(part, str))


def _last_question(messages: tuple[Json, ...]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            return text_of(message.get("content"))[:MAX_TEXT]
    return ""


def parse_chat_request(body: object, deployment: str | None = None) -> ChatRequest:
    """Checks a request body that is parsed JSON. `deployment` is the model of an Azure URL.

    Raises ApiError(400), which names the first invalid field.
    """
    if not isinstance(body, Mapping):
        raise bad_request("The request body must be a JSON object.")
    model = deployment if deployment is not None else body.get("model")
    if not isinstance(model, str) or not model:
        raise bad_request("you must provide a model parameter", "model")
    if len(model) > MAX_MODEL_NAME:
        raise bad_request(f"The model's name has more than {MAX_MODEL_NAME} characters.", "model")
    profile = parse_profile(model, body.get("demo"))
    if deployment is not None:
        profile = replace(profile, behaviours=profile.behaviours | {Behaviour.AZURE})
    _range(body, "temperature", 2.0)
    _range(body, "top_p", 1.0)
    options = body.get("stream_options")
    messages = _messages(body.get("messages"))
    n = _integer(body, "n", 1, MAX_CHOICES) or (2 if profile.has(Behaviour.CHOICES) else 1)
    if n * (profile.tokens or 0) > MAX_TOKENS:
        raise bad_request(f"An answer may have {MAX_TOKENS} tokens in all its choices.", "demo.tokens")
    return ChatRequest(
        model=model,
        messages=messages,
        text=_last_question(messages),
        stream=_flag(body, "stream"),
        include_usage=isinstance(options, Mapping) and bool(options.get("include_usage")),
        n=n,
        max_tokens=_integer(body, "max_completion_tokens", 1) or _integer(body, "max_tokens", 1),
        stop=_stop(body.get("stop")),
        tools=_tools(body.get("tools")),
        functions=_functions(body.get("functions"), "functions"),
        tool_choice=body.get("tool_choice"),
        function_call=body.get("function_call"),
        parallel=body.get("parallel_tool_calls") is not False,
        logprobs=_flag(body, "logprobs") or profile.has(Behaviour.LOGPROBS),
        top_logprobs=_integer(body, "top_logprobs", 0, 20) or 0,
        schema=_schema(body.get("response_format")),
        profile=profile,
    )


def _messages(value: object) -> tuple[Json, ...]:
    if value is None:
        raise bad_request("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    if not isinstance(value, list):
        raise bad_request("'messages' must be an array.", "messages", "invalid_type")
    if not value:
        raise bad_request("'messages' is an empty array; expected at least one.", "messages", "empty_array")
    if len(value) > MAX_MESSAGES:
        raise bad_request(f"'messages' has more than {MAX_MESSAGES} items.", "messages", "array_above_max_length")
    for index, message in enumerate(value):
        param = f"messages[{index}]"
        if not isinstance(message, Mapping):
            raise bad_request(f"'{param}' must be an object.", param, "invalid_type")
        if message.get("role") not in ROLES:
            raise bad_request(f"'{param}.role' must be one of {', '.join(ROLES)}.", f"{param}.role", "invalid_value")
        content = message.get("content")
        if content is not None and not isinstance(content, str | list):
            raise bad_request(f"'{param}.content' must be text or parts.", f"{param}.content", "invalid_type")
    return tuple(value)


def _tools(value: object) -> tuple[Json, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise bad_request("'tools' must be an array of objects.", "tools", "invalid_type")
    return _functions([tool["function"] for tool in value if "function" in tool], "tools")


def _functions(value: object, param: str) -> tuple[Json, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise bad_request(f"'{param}' must be an array.", param, "invalid_type")
    if len(value) > MAX_TOOLS:
        raise bad_request(f"'{param}' has more than {MAX_TOOLS} items.", param, "array_above_max_length")
    for index, function in enumerate(value):
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise bad_request(f"'{param}[{index}]' needs a name.", f"{param}[{index}].name")
        if len(function["name"]) > MAX_TOOL_NAME:
            raise bad_request(
                f"'{param}[{index}].name' has more than {MAX_TOOL_NAME} characters.", f"{param}[{index}].name"
            )
    return tuple(value)


def _schema(value: object) -> Json | None:
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or kind not in ("text", "json_object", "json_schema"):
        raise bad_request("'response_format' must be of the type text, json_object or json_schema.", "response_format")
    if kind != "json_schema":
        return None if kind == "text" else {}
    named = value.get("json_schema")
    schema = named.get("schema") if isinstance(named, Mapping) else None
    if not isinstance(schema, Mapping):
        raise bad_request("Missing required parameter: 'response_format.json_schema.schema'.", "response_format")
    return schema


def _stop(value: object) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if stops is None:
        return ()
    if not isinstance(stops, list) or len(stops) > MAX_STOPS or not all(isinstance(s, str) for s in stops):
        raise bad_request(f"'stop' must be text or up to {MAX_STOPS} texts.", "stop", "invalid_type")
    return tuple(stop for stop in stops if stop)


def _flag(body: Json, name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad_request(f"'{name}' must be true or false.", name, "invalid_type")
    return bool(value)


def _integer(body: Json, name: str, minimum: int, maximum: int | None = None) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise bad_request(f"'{name}' must be a whole number.", name, "invalid_type")
    if value < minimum:
        raise bad_request(f"'{name}' is below its least value {minimum}.", name, "integer_below_min_value")
    if maximum is not None and value > maximum:
        raise bad_request(f"'{name}' is above its greatest value {maximum}.", name, "integer_above_max_value")
    return value


def _range(body: Json, name: str, maximum: float) -> None:
    value = body.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_request(f"'{name}' must be a number.", name, "invalid_type")
    if not 0 <= value <= maximum:
        raise bad_request(f"'{name}' must lie between 0 and {maximum:g}.", name, "decimal_out_of_range")
