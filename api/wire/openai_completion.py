"""OpenAI's whole chat completion, folded from a log (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson

from readalong.api.wire.openai_fields import (
    REASONING_FIELD,
    call_arguments,
    default_finish_reason,
    extras_of,
)
from readalong.core.events import Event
from readalong.core.states import TERMINAL

#: Fields of a delta whose first value stays; other strings are pieces.
_WHOLE: Final = frozenset({"id", "type", "index", "format"})
_CALL_FIELDS: Final = frozenset({"index", "id", "name", "arguments", "tool_type", "choice", "extra", "input"})
_ERROR_FIELDS: Final = frozenset({"arguments_error", "arguments_text"})


class _Choice:
    """One choice so far."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.calls: dict[int, dict[str, Any]] = {}
        self.fragments: dict[int, list[str]] = {}
        self.function: dict[str, Any] | None = None
        self.logprobs: dict[str, Any] | None = None
        #: Fields of the model's, in the delta and beside it.
        self.in_delta: dict[str, Any] = {}
        self.beside: dict[str, Any] = {}
        self.finish_reason: str | None = None

    def add_logprobs(self, logprobs: dict[str, Any]) -> None:
        if self.logprobs is None:
            self.logprobs = {}
        for name, value in logprobs.items():
            before = self.logprobs.get(name)
            self.logprobs[name] = [*before, *value] if isinstance(before, list) and isinstance(value, list) else value

    def as_json(self, index: int) -> dict[str, Any]:
        texts = {name: "".join(pieces) for name, pieces in self.texts.items()}
        content, refusal = texts.pop("content", ""), texts.pop("refusal", None)
        speaks = bool(self.calls or self.function or refusal or self.in_delta.get("audio"))
        message: dict[str, Any] = {"role": "assistant", "content": content or (None if speaks else "")}
        message |= {"refusal": refusal, **texts}
        if self.calls:
            message["tool_calls"] = [self._call(place) for place in sorted(self.calls)]
        if self.function is not None:
            message["function_call"] = self.function
        for name, value in self.in_delta.items():
            if not message.get(name):
                message[name] = value
            elif isinstance(value, list):
                # Parts beside the text of the same field.
                message[name] = [{"type": "text", "text": message[name]}, *value]
        choice = {"index": index, "message": message, "logprobs": self.logprobs, "finish_reason": self.finish_reason}
        return choice | self.beside

    def _call(self, place: int) -> dict[str, Any]:
        fields = self.calls[place]
        kind = fields.get("tool_type", "function")
        given = "".join(self.fragments.get(place, ()))
        # The model's own text, unless its pieces are not what the call came to.
        text = given if _means(given, fields) else call_arguments(fields)
        more = {name: value for name, value in fields.items() if name not in _CALL_FIELDS | _ERROR_FIELDS}
        inner = {"name": fields.get("name"), "input" if kind == "custom" else "arguments": text}
        return {"id": fields.get("id"), "type": kind, kind: inner | more.pop("function", {}), **more}


class ChatCompletionFold:
    """The answer of the newest attempt. Events come in order, merged or not."""

    def __init__(self) -> None:
        self.last_seq = 0
        self._void()

    @property
    def ended(self) -> bool:
        """Whether the terminal event is here."""
        return self._end is not None

    def add_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        self.last_seq = event.seq
        kind = event.type
        if kind in ("started", "restarted"):
            self._void()
            return
        if kind in ("queued", "waiting"):
            return
        fields = event.fields()
        if kind in TERMINAL:
            self._add_end(kind, fields)
        else:
            self._add_piece(kind, fields)
        for extra in extras_of(fields):
            if extra.choice is None:
                self._common[extra.name] = extra.value
            elif extra.in_delta:
                choice = self._choice(extra.choice)
                choice.in_delta[extra.name] = _joined(extra.name, choice.in_delta.get(extra.name), extra.value)
            else:
                self._choice(extra.choice).beside[extra.name] = extra.value

    def as_json(self, id_: str, created: int, model: str) -> dict[str, Any]:
        """Returns the completion. `created` in seconds."""
        choices = [self._choices[index].as_json(index) for index in sorted(self._choices)]
        head = {"id": id_, "object": "chat.completion", "created": created, "model": model, **self._common}
        return {**head, "choices": choices, "usage": self._usage}

    def _void(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._common: dict[str, Any] = {}
        self._usage: dict[str, Any] | None = None
        self._reasoning = REASONING_FIELD
        self._end: str | None = None

    def _choice(self, index: int) -> _Choice:
        return self._choices.setdefault(index, _Choice())

    def _add_piece(self, kind: str, fields: dict[str, Any]) -> None:
        choice = self._choice(fields.get("choice", 0))
        if kind == "reasoning":
            kind = self._reasoning = fields.get("field", self._reasoning)
            choice.texts.setdefault(kind, []).append(fields["content"])
        elif kind in ("content", "refusal"):
            choice.texts.setdefault(kind, []).append(fields["content"])
        elif kind == "tool_call_delta":
            choice.fragments.setdefault(fields["index"], []).append(fields.pop("arguments"))
            choice.calls.setdefault(fields["index"], {}).update(fields)
        elif kind == "tool_call":
            choice.calls.setdefault(fields["index"], {}).update(fields)
        elif kind == "function_call":
            choice.function = {"name": fields.get("name"), "arguments": call_arguments(fields)}
        if logprobs := fields.get("logprobs"):
            choice.add_logprobs(logprobs)

    def _add_end(self, kind: str, fields: dict[str, Any]) -> None:
        self._end = kind
        self._usage = fields.get("usage")
        first = self._choice(0)
        if "content" not in first.texts and fields.get("content"):
            first.texts["content"] = [fields["content"]]
        for call in fields.get("tool_calls", ()):
            self._choice(call.get("choice", 0)).calls.setdefault(call["index"], {}).update(call)
        if first.function is None and (call := fields.get("function_call")) is not None:
            first.function = {"name": call.get("name"), "arguments": call_arguments(call)}
        for other in fields.get("choices", ()):
            choice = self._choice(other["choice"])
            if "content" not in choice.texts and other.get("content"):
                choice.texts["content"] = [other["content"]]
            if kind == "done":
                choice.finish_reason = other.get("finish_reason") or "stop"
        if kind == "done":
            first.finish_reason = fields.get("finish_reason") or default_finish_reason(fields)


def _means(text: str, call: dict[str, Any]) -> bool:
    """Returns whether the pieces of a call's arguments together are what the whole call says."""
    if "arguments" not in call or call.get("tool_type") == "custom" or call.get("arguments") is None:
        return bool(text)
    try:
        return bool(orjson.loads(text) == call["arguments"])
    except orjson.JSONDecodeError:
        return False


def _joined(name: str, before: Any, piece: Any) -> Any:
    """Returns a field of a delta with a further piece, as the SDKs join them."""
    if before is None:
        return piece
    if isinstance(before, str) and isinstance(piece, str):
        return before if name in _WHOLE else before + piece
    if isinstance(before, dict) and isinstance(piece, dict):
        return before | {key: _joined(key, before.get(key), value) for key, value in piece.items()}
    if isinstance(before, list) and isinstance(piece, list):
        return [*before, *piece]
    return piece
