"""The model's chunks to events: a pure fold, one for each call to the model.

The form is OpenAI's `chat.completion.chunk` with what other servers make of it: `docs/models.md` lists the deviations
that are understood.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from readalong.errors import ModelError
from readalong.events import Draft
from worker.calls import Call, Calls
from worker.mould import Mould
from worker.values import as_dict, as_dicts, as_index, as_text, parse

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
#: Fields of a part of a text that are understood; a part with others is also kept as it came.
_PART_FIELDS: Final = frozenset({"type", "text", "thinking", "summary", "index", "format", "id"})
#: Chunks in a row that fit no mould, after which none is made any more: this server's are all different.
_MOST_MISSES: Final = 16


@dataclass(slots=True)
class _Choice:
    text: list[str] = field(default_factory=list)
    calls: Calls = field(default_factory=Calls)
    function: Call | None = None
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
        self._reasoned = False
        self._mould: Mould | None = None
        self._misses = 0

    @property
    def finished(self) -> bool:
        """Whether the model said why it stopped, for every choice that it began."""
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())

    @property
    def finish_reason(self) -> str | None:
        """Why the first choice stopped."""
        choice = self._choices.get(0)
        return choice.finish_reason if choice else None

    @property
    def hidden_tokens(self) -> int:
        """Tokens that the model counts as its own but did not stream: its reasoning, unless it showed it."""
        details = (self.usage or {}).get("completion_tokens_details")
        tokens = details.get("reasoning_tokens") if isinstance(details, dict) else None
        return max(tokens, 0) if isinstance(tokens, int) and not self._reasoned else 0

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
        """The events of one chunk. Raises ModelError for one that is malformed or that carries an error."""
        mould = self._mould
        if mould is not None and (text := mould.text(data)):
            self.count += 1
            self._misses = 0
            self._choices[mould.choice].text.append(text)
            return [Draft("content", _of_choice({"content": text}, mould.choice))]
        drafts = self._add_parsed(parse(data))
        if self._misses < _MOST_MISSES:
            self._misses += 1
            self._mould = Mould.of(data, drafts)
        return drafts

    def close(self) -> list[Draft]:
        """The calls that are whole now that the stream has ended, their arguments parsed."""
        drafts = []
        for index, choice in sorted(self._choices.items()):
            for call in choice.calls.all:
                fields = {"index": call.index, "id": call.id, "name": call.name, **call.parsed()}
                drafts.append(Draft("tool_call", _of_choice(fields, index)))
                self.tool_calls.append(drafts[-1].fields)
            if choice.function is not None:
                fields = {"name": choice.function.name, **choice.function.parsed()}
                drafts.append(Draft("function_call", _of_choice(fields, index)))
                if index == 0:
                    self.function_call = drafts[-1].fields
        return drafts

    def take_extra(self) -> dict[str, Any]:
        """Fields that came with no event of their own, for the end to carry."""
        extra, self._extra = self._extra, {}
        return extra

    def _add_parsed(self, chunk: dict[str, Any]) -> list[Draft]:
        # vLLM's older form has no `error` around it.
        if error := chunk.get("error") or (chunk if chunk.get("object") == "error" else None):
            raise _in_stream(error)
        if isinstance(usage := chunk.get("usage"), dict):
            self.usage = usage
        drafts: list[Draft] = []
        said = False
        for choice in as_dicts(chunk.get("choices"), "choices"):
            said |= self._add_choice(choice, drafts)
        self._keep("", chunk, _CHUNK_FIELDS)
        if said or drafts:
            self.count += 1
        if drafts and self._extra:
            drafts[0].fields["extra"] = self.take_extra()
        return drafts

    def _add_choice(self, choice: dict[str, Any], drafts: list[Draft]) -> bool:
        """Adds to `drafts`. Answers whether there was a fragment of a function call, which is no event yet."""
        index = as_index(choice.get("index"), "index") or 0
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice()
        # A server that does not stream answers with a whole `message` in place of a `delta`.
        delta = as_dict(choice.get("delta") or choice.get("message"), "delta")
        before = len(drafts)
        if text := _reasoning(delta):
            self._reasoned = True
            drafts.append(Draft("reasoning", _of_choice({"content": text}, index)))
        if text := _text(delta.get("content")):
            state.text.append(text)
            drafts.append(Draft("content", _of_choice({"content": text}, index)))
        if text := _text(delta.get("refusal")):
            drafts.append(Draft("refusal", _of_choice({"content": text}, index)))
        for fragment in as_dicts(delta.get("tool_calls"), "tool_calls"):
            drafts.append(Draft("tool_call_delta", _of_choice(state.calls.add(fragment), index)))
        if function := as_dict(delta.get("function_call"), "function_call"):
            state.function = state.function or Call(0)
            state.function.extend(function)
        state.finish_reason = as_text(choice.get("finish_reason") or None) or state.finish_reason
        if logprobs := choice.get("logprobs"):
            if len(drafts) == before and _has_tokens(logprobs):
                # A token that is part of a character has no text of its own.
                drafts.append(Draft("content", _of_choice({"content": ""}, index)))
            if len(drafts) > before:
                drafts[before].fields["logprobs"] = logprobs
        self._keep(f"choices.{index}.", choice, _CHOICE_FIELDS)
        self._keep(f"choices.{index}.delta.", delta, _DELTA_FIELDS)
        for name in ("content", "reasoning_details"):
            if rest := _not_understood(delta.get(name)):
                self._extra[f"choices.{index}.delta.{name}"] = rest
        return bool(function)

    def _keep(self, path: str, fields: dict[str, Any], known: frozenset[str]) -> None:
        """Notes fields that no event type names, when they change."""
        for name, value in fields.items():
            # Azure's chunks about its filters have an empty id, model and so on.
            if name in known or value is None or value == "":
                continue
            seen = self._seen.get(path + name)
            if (seen == value and type(seen) is type(value)) or (seen and name in _FIRST_ONLY):
                continue
            self._seen[path + name] = value
            self._extra[path + name] = value


def _in_stream(error: Any) -> ModelError:
    message = error
    if isinstance(error, dict):
        message = error.get("message") or error.get("code") or error.get("type") or error
    return ModelError("model_error", f"The model reported an error: {str(message)[:500]}", retryable=True)


def _of_choice(fields: dict[str, Any], index: int) -> dict[str, Any]:
    if index:
        fields["choice"] = index
    return fields


def _text(value: Any) -> str:
    """Text, given as such or as a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, dict))
    return ""


def _reasoning(delta: dict[str, Any]) -> str:
    for name in _REASONING:
        if text := _text(delta.get(name)):
            return text
    details, content = delta.get("reasoning_details"), delta.get("content")
    if isinstance(details, list):
        parts = (part for part in details if isinstance(part, dict))
        return "".join(_text(part.get("text")) or _text(part.get("summary")) for part in parts)
    if isinstance(content, list):
        # Mistral's form.
        return "".join(_text(part.get("thinking")) for part in content if isinstance(part, dict))
    return ""


def _not_understood(value: Any) -> list[Any]:
    """The parts of a text that hold more than text, such as pictures and signatures."""
    if not isinstance(value, list):
        return []
    return [part for part in value if not isinstance(part, dict) or part.keys() - _PART_FIELDS]


def _has_tokens(logprobs: Any) -> bool:
    return isinstance(logprobs, dict) and any(logprobs.get(name) for name in ("content", "refusal"))
