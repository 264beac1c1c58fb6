"""Which tools are called, and with which arguments: made from each tool's JSON schema."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from readalong.testing.behaviours import Behaviour
from readalong.testing.limits import ARGUMENT_BYTES, ARGUMENT_VALUES, CALL_VALUES
from readalong.testing.prose import topics
from readalong.testing.question import ChatRequest, Json

MAX_DEPTH = 5
MAX_ITEMS = 20
MAX_REF = 256
"""Characters of a `$ref`."""
INVENTED: Json = {
    "name": "look_up",
    "parameters": {
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
    },
}
"""Called by the misbehaviours of tool calls if the request brings no tools: so a bare curl shows them."""

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
_WRONG = frozenset({Behaviour.BAD_ARGUMENTS, Behaviour.NO_INDEX})


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool: its id, the function's name, and the arguments' JSON in the pieces to send."""

    id: str
    name: str
    fragments: tuple[str, ...]

    @property
    def arguments(self) -> str:
        return "".join(self.fragments)


def calls_for(question: ChatRequest, seed: int) -> tuple[Call, ...]:
    """The tool calls that answer the question; empty if it is to be answered in words.

    A named or required `tool_choice` forces one; a question that contains a tool's name asks for it; the
    behaviours about tools call all of them, and a lone one twice. After a tool's result comes text.
    """
    tools = _chosen(question, question.tools, question.tool_choice)
    if not tools and not question.functions and question.manner.behaviours & _WRONG and _fresh(question):
        tools = (INVENTED,)
    if len(tools) == 1 and question.manner.has(Behaviour.TOOLS) and not _forced(question.tool_choice):
        tools *= 2
    if not question.parallel:
        tools = tools[:1]
    return tuple(_call(question, tool, seed, place, len(tools)) for place, tool in enumerate(tools))


def function_call_for(question: ChatRequest, seed: int) -> Call | None:
    """The same for the legacy `functions`: at most one call."""
    chosen = _chosen(question, question.functions, question.function_call)
    return _call(question, chosen[0], seed, 0, 1) if chosen else None


def _chosen(question: ChatRequest, tools: tuple[Json, ...], choice: object) -> tuple[Json, ...]:
    if choice == "none" or not tools:
        return ()
    forced = _forced(choice)
    if forced == "required":
        return tools if question.manner.behaviours & _ALWAYS_CALL else tools[:1]
    if forced is not None:
        return tuple(tool for tool in tools if tool["name"] == forced)[:1]
    if not _fresh(question):
        return ()
    if question.manner.behaviours & _ALWAYS_CALL:
        return tools
    return tuple(tool for tool in tools if _names(question.text, tool["name"]))


def _names(text: str, name: str) -> bool:
    """Whether the name stands in the text as a word; the first look is the cheap one."""
    return name in text and re.search(rf"\b{re.escape(name)}\b", text) is not None


def _forced(choice: object) -> str | None:
    """The name of a forced tool, "required", or None."""
    if choice == "required":
        return "required"
    if isinstance(choice, Mapping):
        function = choice.get("function", choice)
        name = function.get("name") if isinstance(function, Mapping) else None
        return name if isinstance(name, str) else None
    return None


def _fresh(question: ChatRequest) -> bool:
    return question.messages[-1]["role"] not in ("tool", "function")


def _call(question: ChatRequest, tool: Json, seed: int, place: int, calls: int) -> Call:
    """`calls`: how many each choice has; together they share what an answer's arguments may cost."""
    dice = random.Random(seed + place)
    schema = tool.get("parameters")
    arguments = orjson.dumps(_Maker(schema, question.text, place, calls * question.n).whole()).decode()
    if question.manner.has(Behaviour.BAD_ARGUMENTS) and place == 0:
        arguments = arguments[:-1] + ', "unfinished: '
    return Call(f"call_{dice.getrandbits(64):016x}", tool["name"], _fragments(arguments, dice))


def _fragments(text: str, dice: random.Random) -> tuple[str, ...]:
    pieces, start = [], 0
    while start < len(text):
        size = dice.randint(3, 9)
        pieces.append(text[start : start + size])
        start += size
    return tuple(pieces)


class _Maker:
    """Makes a value that fits a JSON schema, with words of the question where it may choose."""

    def __init__(self, schema: object, text: str, place: int, calls: int) -> None:
        self.schema = schema
        self.words = topics(text)
        self.place = place
        self.left = min(CALL_VALUES, ARGUMENT_VALUES // calls)
        self.bytes_left = ARGUMENT_BYTES // calls

    def whole(self) -> object:
        return self.value(self.schema, 0) if isinstance(self.schema, Mapping) else {}

    def value(self, schema: object, depth: int) -> object:
        self.left -= 1
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH or self.left < 0:
            return None
        if "$ref" in schema:
            return self.value(self._resolve(schema["$ref"]), depth + 1)
        for name in ("const", "default"):
            if name in schema:
                return self._given(schema[name])
        for name in ("enum", "examples"):
            if isinstance(schema.get(name), list) and schema[name]:
                return self._given(schema[name][self.place % len(schema[name])])
        for name in ("anyOf", "oneOf", "allOf"):
            if isinstance(schema.get(name), list) and schema[name]:
                return self.value(schema[name][0], depth + 1)
        return self._of_type(schema, depth)

    def _given(self, value: object) -> object:
        """A value of the schema's own, or None when it is more than is left."""
        return value if self._afford(len(orjson.dumps(value))) else None

    def _afford(self, size: int) -> bool:
        # What is too much once ends it: a large value must not be weighed again and again.
        self.bytes_left = self.bytes_left - size if size <= self.bytes_left else -1
        return self.bytes_left >= 0

    def _of_type(self, schema: Mapping[str, Any], depth: int) -> object:
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
        least = schema.get("minItems")
        size = min(max(1, least), MAX_ITEMS) if isinstance(least, int) else 1
        return [self.value(schema.get("items", {"type": "string"}), depth + 1) for _ in range(size)]

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, object]:
        fields = schema.get("properties")
        if not isinstance(fields, Mapping):
            return {}
        made: dict[str, object] = {}
        for name, field in fields.items():
            if self.left <= 0 or not self._afford(len(name)):
                break
            made[name] = self.value(field, depth + 1)
        return made

    def _number(self, schema: Mapping[str, Any]) -> float:
        least, most = schema.get("minimum"), schema.get("maximum")
        if isinstance(least, int | float):
            return least
        if isinstance(most, int | float):
            return min(most, 3)
        return 3

    def _string(self, schema: Mapping[str, Any]) -> str:
        form = schema.get("format")
        named = _FORMATS.get(form) if isinstance(form, str) else None
        if named is not None:
            return named
        word = self.words[self.place % len(self.words)]
        most = schema.get("maxLength")
        return word[:most] if isinstance(most, int) and most >= 0 else word

    def _resolve(self, ref: object) -> object:
        found: object = self.schema
        if not isinstance(ref, str) or len(ref) > MAX_REF:
            return None
        for step in ref.removeprefix("#").strip("/").split("/"):
            found = found.get(step) if isinstance(found, Mapping) else None
        return found
