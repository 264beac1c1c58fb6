"""The model's chunks to events: a pure fold, one for each call to the model.

The form is OpenAI's `chat.completion.chunk` with what other servers make of it: `docs/models.md` lists the deviations
that are understood.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from readalong.errors import ModelError
from readalong.events import Draft

#: The names that servers give to the text of reasoning, in order of preference.
_REASONING: Final = ("reasoning_content", "reasoning")
#: Fields of a chunk that are folded, or that say nothing (`obfuscation` is random padding).
_CHUNK_FIELDS: Final = frozenset({"choices", "usage", "error", "obfuscation"})
#: Fields of a chunk that are kept as they first came; some servers count them up.
_FIRST_ONLY: Final = frozenset({"id", "object", "created"})
_CHOICE_FIELDS: Final = frozenset({"index", "delta", "message", "finish_reason", "logprobs"})
_DELTA_FIELDS: Final = frozenset(
    {"role", "content", "refusal", "tool_calls", "function_call", "reasoning_details", *_REASONING}
)


@dataclass(slots=True)
class _Call:
    index: int
    id: str | None = None
    name: str | None = None
    arguments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Choice:
    text: list[str] = field(default_factory=list)
    calls: list[_Call] = field(default_factory=list)
    #: The call that each of the server's indexes means now.
    by_index: dict[int, _Call] = field(default_factory=dict)
    function: _Call | None = None
    finish_reason: str | None = None


class Chunks:
    """What one call to the model has said so far. `add` takes each chunk; `close` what is whole at the end."""

    def __init__(self) -> None:
        #: Pieces that said something; not the events they were merged into.
        self.count = 0
        self.usage: dict[str, Any] | None = None
        self.tool_calls: list[dict[str, Any]] = []
        self.function_call: dict[str, Any] | None = None
        self._choices: dict[int, _Choice] = {}
        self._seen: dict[str, Any] = {}
        self._extra: dict[str, Any] = {}

    @property
    def finished(self) -> bool:
        """Whether the model said why it stopped, for every choice that it began."""
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice stopped."""
        choice = self._choices.get(0)
        return choice.finish_reason if choice else None

    def text(self) -> str:
        """The content of the first choice."""
        choice = self._choices.get(0)
        return "".join(choice.text) if choice else ""

    def other_choices(self) -> list[dict[str, Any]]:
        """Content and finish reason of the choices besides the first."""
        return [
            {"choice": index, "content": "".join(choice.text), "finish_reason": choice.finish_reason}
            for index, choice in sorted(self._choices.items())
            if index != 0
        ]

    def add(self, data: bytes) -> list[Draft]:
        """The events of one chunk. Raises ModelError for one that is no JSON object or that carries an error."""
        chunk = _parse(data)
        if chunk.get("error"):
            raise _in_stream(chunk["error"])
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self.usage = usage
        drafts: list[Draft] = []
        for choice in chunk.get("choices") or ():
            drafts += self._add_choice(choice)
        self._keep("", chunk, _CHUNK_FIELDS)
        if drafts:
            self.count += 1
            if self._extra:
                drafts[0].fields["extra"] = self._extra
                self._extra = {}
        return drafts

    def close(self) -> list[Draft]:
        """The calls that are whole now that the stream has ended, their arguments parsed."""
        drafts = []
        for index, choice in sorted(self._choices.items()):
            for call in choice.calls:
                fields = {"index": call.index, "id": call.id, "name": call.name, **_arguments(call)}
                drafts.append(Draft("tool_call", _of_choice(fields, index)))
                self.tool_calls.append(drafts[-1].fields)
            if choice.function is not None:
                fields = {"name": choice.function.name, **_arguments(choice.function)}
                drafts.append(Draft("function_call", _of_choice(fields, index)))
                if index == 0:
                    self.function_call = drafts[-1].fields
        return drafts

    def take_extra(self) -> dict[str, Any]:
        """Fields that came with no event of their own, for the end to carry."""
        extra, self._extra = self._extra, {}
        return extra

    def _add_choice(self, choice: dict[str, Any]) -> list[Draft]:
        index = choice.get("index") or 0
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice()
        # A server that does not stream answers with a whole `message` in place of a `delta`.
        delta = choice.get("delta") or choice.get("message") or {}
        drafts = []
        if text := _reasoning(delta):
            drafts.append(Draft("reasoning", _of_choice({"content": text}, index)))
        if text := _text(delta.get("content")):
            state.text.append(text)
            drafts.append(Draft("content", _of_choice({"content": text}, index)))
        if text := _text(delta.get("refusal")):
            drafts.append(Draft("refusal", _of_choice({"content": text}, index)))
        for fragment in delta.get("tool_calls") or ():
            drafts.append(Draft("tool_call_delta", _of_choice(_add_call(state, fragment), index)))
        if (function := delta.get("function_call")) is not None:
            if state.function is None:
                state.function = _Call(0)
            _extend(state.function, function)
            self.count += 1 if not drafts else 0
        if choice.get("finish_reason"):
            state.finish_reason = str(choice["finish_reason"])
        if choice.get("logprobs") and drafts:
            drafts[0].fields["logprobs"] = choice["logprobs"]
        self._keep(f"choices.{index}.", choice, _CHOICE_FIELDS)
        self._keep(f"choices.{index}.delta.", delta, _DELTA_FIELDS)
        return drafts

    def _keep(self, path: str, fields: dict[str, Any], known: frozenset[str]) -> None:
        """Notes fields that no event type names, when they change."""
        for name, value in fields.items():
            if name in known or value is None:
                continue
            seen = self._seen.get(path + name)
            if seen == value or (seen is not None and name in _FIRST_ONLY):
                continue
            self._seen[path + name] = value
            self._extra[path + name] = value


def _parse(data: bytes) -> dict[str, Any]:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        chunk = _parse_leniently(data)
    if not isinstance(chunk, dict):
        raise ModelError("model_malformed", "The model sent a chunk that is no JSON object.", retryable=True)
    return chunk


def _parse_leniently(data: bytes) -> Any:
    """Half a surrogate pair, which some servers send when they cut inside an emoji, becomes U+FFFD."""
    try:
        text = json.dumps(json.loads(data), ensure_ascii=False)
        return orjson.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    except (ValueError, RecursionError):
        raise ModelError("model_malformed", "The model sent a chunk that is no JSON.", retryable=True) from None


def _in_stream(error: Any) -> ModelError:
    message = error.get("message") if isinstance(error, dict) else error
    return ModelError("model_error", f"The model reported an error: {str(message)[:500]}", retryable=True)


def _of_choice(fields: dict[str, Any], index: int) -> dict[str, Any]:
    if index:
        fields["choice"] = index
    return fields


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        parts = (part.get("text") for part in value if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def _reasoning(delta: dict[str, Any]) -> str:
    for name in _REASONING:
        if text := _text(delta.get(name)):
            return text
    return _text(delta.get("reasoning_details"))


def _add_call(state: _Choice, fragment: dict[str, Any]) -> dict[str, Any]:
    """Adds a fragment to the call that it belongs to: some servers omit `index`, others always say 0."""
    index, call_id = fragment.get("index"), fragment.get("id") or None
    call = next((call for call in state.calls if call_id is not None and call.id == call_id), None)
    if call is None:
        call = state.by_index.get(index) if index is not None else (state.calls[-1] if state.calls else None)
        if call is None or (call_id is not None and call.id is not None):
            call = _Call(len(state.calls))
            state.calls.append(call)
    if index is not None:
        state.by_index[index] = call
    call.id = call.id or call_id
    text = _extend(call, fragment.get("function") or {})
    return {"index": call.index, "id": call.id, "name": call.name, "arguments": text}


def _extend(call: _Call, function: dict[str, Any]) -> str:
    call.name = call.name or function.get("name") or None
    arguments = function.get("arguments")
    if arguments is None:
        return ""
    # Ollama and others give the arguments as an object.
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    call.arguments.append(text)
    return text


def _arguments(call: _Call) -> dict[str, Any]:
    text = "".join(call.arguments)
    if not text.strip():
        return {"arguments": {}}
    try:
        return {"arguments": orjson.loads(text)}
    except orjson.JSONDecodeError as error:
        return {"arguments": None, "arguments_error": str(error), "arguments_text": text}
