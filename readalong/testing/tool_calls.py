"""The tool calls of an answer, with arguments made from each tool's JSON schema."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from readalong.testing.behaviours import Behaviour
from readalong.testing.chat_request import ChatRequest, Json
from readalong.testing.limits import ARGUMENT_BYTES, ARGUMENT_VALUES, CALL_VALUES
from readalong.testing.text import keywords

MAX_DEPTH = 5
MAX_ITEMS = 20
MAX_REF = 256
"""Characters of a `$ref`."""
DEFAULT_TOOL: Json = {
    "name": "look_up",
    "parameters": {
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
    },
}
"""The tool for `bad-arguments` and `no-index` when the request has none: a bare curl shows them."""

_FORMATS = {
    "date": "2026-11-22",
    "date-time": "2026-11-22T10:00:00Z",
    "time": "10:00:00Z",
    "email": "reader@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000001",
    "ipv4": "192.0.2.1",
    "hostname": "example.com",
}
_ALWAYS_CALL = frozenset({Behaviour.TOOLS, Behaviour.BAD_ARGUMENTS, Behaviour.NO_INDEX})
_MALFORMED_CALLS = frozenset({Behaviour.BAD_ARGUMENTS, Behaviour.NO_INDEX})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call: its id, the function's name, and the arguments' JSON as the fragments to send."""

    id: str
    name: str
    fragments: tuple[str, ...]

    @property
    def arguments(self) -> str:
        return "".join(self.fragments)


def tool_calls_for(request: ChatRequest, seed: int) -> tuple[ToolCall, ...]:
    """Returns the tool calls of the answer; none if the answer is text.

    A named or required `tool_choice` forces one call. A question that contains a tool's name calls that tool. The
    behaviours about tools call all tools, and a lone tool twice. The answer to a tool's result is text.
    """
    tools = _select(request, request.tools, request.tool_choice)
    if not tools and not request.functions and request.profile.behaviours & _MALFORMED_CALLS and _awaits_call(request):
        tools = (DEFAULT_TOOL,)
    if len(tools) == 1 and request.profile.has(Behaviour.TOOLS) and not _forced(request.tool_choice):
        tools *= 2
    if not request.parallel:
        tools = tools[:1]
    return tuple(_call(request, tool, seed, index, len(tools)) for index, tool in enumerate(tools))


def function_call_for(request: ChatRequest, seed: int) -> ToolCall | None:
    """Returns the call of a legacy function, if there is one."""
    selected = _select(request, request.functions, request.function_call)
    return _call(request, selected[0], seed, 0, 1) if selected else None


def json_for(request: ChatRequest, seed: int) -> tuple[str, ...]:
    """Returns the pieces of a text that fits the request's schema."""
    return _call(request, {"name": "", "parameters": request.schema}, seed, 0, 1).fragments


def _select(request: ChatRequest, tools: tuple[Json, ...], choice: object) -> tuple[Json, ...]:
    if choice == "none" or not tools:
        return ()
    forced = _forced(choice)
    if forced == "required":
        return tools if request.profile.behaviours & _ALWAYS_CALL else tools[:1]
    if forced is not None:
        return tuple(tool for tool in tools if tool["name"] == forced)[:1]
    if not _awaits_call(request):
        return ()
    if request.profile.behaviours & _ALWAYS_CALL:
        return tools
    return tuple(tool for tool in tools if _mentions(request.text, tool["name"]))


def _mentions(text: str, name: str) -> bool:
    """Returns whether the text has the name as a word."""
    # `in` first: a regular expression over a long text costs much more.
    return name in text and re.search(rf"\b{re.escape(name)}\b", text) is not None


def _forced(choice: object) -> str | None:
    """Returns the name of a forced tool, "required", or None."""
    if choice == "required":
        return "required"
    if isinstance(choice, Mapping):
        function = choice.get("function", choice)
        name = function.get("name") if isinstance(function, Mapping) else None
        return name if isinstance(name, str) else None
    return None


def _awaits_call(request: ChatRequest) -> bool:
    return request.messages[-1]["role"] not in ("tool", "function")


def _call(request: ChatRequest, tool: Json, seed: int, index: int, calls: int) -> ToolCall:
    """`calls`: the calls of each choice. All calls of an answer share one budget of bytes and values."""
    rng = random.Random(seed + index)
    schema = tool.get("parameters")
    arguments = orjson.dumps(_ValueGenerator(schema, request.text, index, calls * request.n).arguments()).decode()
    if request.profile.has(Behaviour.BAD_ARGUMENTS) and index == 0:
        arguments = arguments[:-1] + ', "unfinished: '
    return ToolCall(f"call_{rng.getrandbits(64):016x}", tool["name"], _fragments(arguments, rng))


def _fragments(text: str, rng: random.Random) -> tuple[str, ...]:
    fragments, start = [], 0
    while start < len(text):
        size = rng.randint(3, 9)
        fragments.append(text[start : start + size])
        start += size
    return tuple(fragments)


class _ValueGenerator:
    """Makes values that fit a JSON schema, with words of the question as strings."""

    def __init__(self, schema: object, text: str, index: int, calls: int) -> None:
        self.schema = schema
        self.words = keywords(text)
        self.index = index
        self.values_left = min(CALL_VALUES, ARGUMENT_VALUES // calls)
        self.bytes_left = ARGUMENT_BYTES // calls

    def arguments(self) -> object:
        return self.value(self.schema, 0) if isinstance(self.schema, Mapping) else {}

    def value(self, schema: object, depth: int) -> object:
        self.values_left -= 1
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH or self.values_left < 0:
            return None
        if "$ref" in schema:
            return self.value(self._resolve(schema["$ref"]), depth + 1)
        for name in ("const", "default"):
            if name in schema:
                return self._literal(schema[name])
        for name in ("enum", "examples"):
            if isinstance(schema.get(name), list) and schema[name]:
                return self._literal(schema[name][self.index % len(schema[name])])
        for name in ("anyOf", "oneOf", "allOf"):
            if isinstance(schema.get(name), list) and schema[name]:
                return self.value(schema[name][0], depth + 1)
        return self._typed(schema, depth)

    def _literal(self, value: object) -> object:
        """Returns a value that the schema gives, or None if it exceeds the budget."""
        return value if self._reserve(len(orjson.dumps(value))) else None

    def _reserve(self, size: int) -> bool:
        # The first value beyond the budget ends it: a large value must not be encoded again and again.
        self.bytes_left = self.bytes_left - size if size <= self.bytes_left else -1
        return self.bytes_left >= 0

    def _typed(self, schema: Mapping[str, Any], depth: int) -> object:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((name for name in kind[:8] if name != "null"), "null")
        match kind:
            case "integer" | "number":
                return self._number(schema)
            case "string":
                return self._string(schema)
            case "array":
                return self._array(schema, depth)
            case "boolean" | "null":
                return True if kind == "boolean" else None
            case _:
                return self._object(schema, depth)

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[object]:
        minimum = schema.get("minItems")
        size = min(max(1, minimum), MAX_ITEMS) if isinstance(minimum, int) else 1
        return [self.value(schema.get("items", {"type": "string"}), depth + 1) for _ in range(size)]

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, object]:
        fields = schema.get("properties")
        if not isinstance(fields, Mapping):
            return {}
        made: dict[str, object] = {}
        for name, field in fields.items():
            if self.values_left <= 0 or not self._reserve(len(name)):
                break
            made[name] = self.value(field, depth + 1)
        return made

    def _number(self, schema: Mapping[str, Any]) -> float:
        minimum, maximum = schema.get("minimum"), schema.get("maximum")
        if isinstance(minimum, int | float):
            return minimum
        if isinstance(maximum, int | float):
            return min(maximum, 3)
        return 3

    def _string(self, schema: Mapping[str, Any]) -> str:
        form = schema.get("format")
        named = _FORMATS.get(form) if isinstance(form, str) else None
        if named is not None:
            return named
        word = self.words[self.index % len(self.words)]
        maximum = schema.get("maxLength")
        return word[:maximum] if isinstance(maximum, int) and maximum >= 0 else word

    def _resolve(self, ref: object) -> object:
        found: object = self.schema
        if not isinstance(ref, str) or len(ref) > MAX_REF:
            return None
        for step in ref.removeprefix("#").strip("/").split("/"):
            found = found.get(step) if isinstance(found, Mapping) else None
        return found
