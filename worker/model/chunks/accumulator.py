"""Turns the chunks of one model call into events, and adds them up (pure).

The form is OpenAI's `chat.completion.chunk`. `docs/models.md` lists the deviations that are understood.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from readalong.core.errors import ModelError
from readalong.core.events import TEXT, NewEvent
from readalong.worker.model.chunks.error_messages import find_error, reported_error
from readalong.worker.model.chunks.extra_fields import ExtraFields
from readalong.worker.model.chunks.lenient_json import as_dict, as_dicts, as_index, as_text, parse
from readalong.worker.model.chunks.message_text import (
    FIELDS_WITH_PARTS,
    REASONING_FIELDS,
    plain_text,
    reasoning_field,
    reasoning_text,
    rich_parts,
)
from readalong.worker.model.chunks.template import ChunkTemplate
from readalong.worker.model.chunks.text_pieces import TextPieces
from readalong.worker.model.chunks.tool_calls import ToolCall, ToolCallAccumulator
from readalong.worker.model.limits import AnswerTooLarge, Budget, Limits, size_of

#: Fields of a chunk that are read, or that say nothing (`obfuscation` is random padding).
_CHUNK_FIELDS: Final = frozenset({"choices", "usage", "error", "obfuscation"})
_CHOICE_FIELDS: Final = frozenset({"index", "delta", "message", "text", "finish_reason", "logprobs", "error"})
_DELTA_FIELDS: Final = frozenset(
    {"role", "content", "refusal", "tool_calls", "function_call", "reasoning_details", *REASONING_FIELDS}
)
#: Fields of a `function_call` that are read, or that are names of our events.
_FUNCTION_FIELDS: Final = frozenset({"name", "arguments", "choice", "seq", "type", "tool_type"})
#: Chunks in a row that match no template, after which no more templates are made: the server's chunks all differ.
_MAX_MISSES: Final = 16
#: Bytes of a chunk without a choice that are kept for the error message of an answer without a choice.
_MAX_NON_CHOICE_BYTES: Final = 65_536
#: Largest usage in bytes, and longest finish reason in characters.
_MAX_USAGE_BYTES: Final = 65_536
_MAX_FINISH_REASON: Final = 200


def _unchanged(value: Any) -> Any:
    return value


class _ChoiceState:
    """One choice so far."""

    __slots__ = ("calls", "finish_reason", "function", "reasoning", "refusal", "streamed", "text")

    def __init__(self, budget: Budget, clean: Callable[[Any], Any]) -> None:
        self.text = TextPieces()
        self.reasoning = TextPieces()
        self.refusal = TextPieces()
        self.calls = ToolCallAccumulator(budget, clean)
        self.function: ToolCall | None = None
        self.finish_reason: str | None = None
        #: Deltas have made events: a whole message repeats them.
        self.streamed = False

    def unseen_part(self, message: dict[str, Any]) -> dict[str, Any]:
        """Returns a whole message as a delta that holds only what no event has said."""
        rest = dict(message)
        for name, pieces in (("content", self.text), ("refusal", self.refusal)):
            rest[name] = self._unseen_text(pieces, plain_text(message.get(name)))
        for name in (*REASONING_FIELDS, "reasoning_details"):
            rest.pop(name, None)
        rest["reasoning"] = self._unseen_text(self.reasoning, reasoning_text(message))
        calls = as_dicts(message.get("tool_calls"), "tool_calls", lone=True)
        rest["tool_calls"] = [call for call in calls if not self.calls.has(call)]
        if self.function is not None:
            rest.pop("function_call", None)
        return rest

    def _unseen_text(self, pieces: TextPieces, text: str) -> str:
        if pieces.is_prefix_of(text):
            return text[pieces.size() :]
        return "" if self.streamed else text


class ChunkAccumulator:
    """The answer of one model call so far. `add` takes each chunk. `close` returns the whole tool calls at the end."""

    def __init__(
        self,
        asked: int | None = None,
        *,
        limits: Limits = Limits(),  # noqa: B008 (it is frozen)
        clean: Callable[[Any], Any] = _unchanged,
    ) -> None:
        """`asked` is the number of choices that the request asks for, None if unknown. `clean` removes our keys from a
        value that is not the model's own text."""
        #: Pieces that said something; not the events that they were merged into.
        self.count = 0
        #: The last chunk without a choice that came before the first choice.
        self.non_choice_chunk = b""
        self.tool_calls: list[dict[str, Any]] = []
        self.function_call: dict[str, Any] | None = None
        self._asked = asked
        self._choices: dict[int, _ChoiceState] = {}
        self._usage: dict[str, Any] | None = None
        self._clean = clean
        self._budget = Budget(limits, asked)
        self._extras = ExtraFields(self._budget, clean)
        self._reasoned = False
        #: The field of reasoning's text that the events have named.
        self._reasoning_field = REASONING_FIELDS[0]
        self._template: ChunkTemplate | None = None
        self._frame_template: ChunkTemplate | None = None
        self._misses = 0

    @property
    def has_choices(self) -> bool:
        """Whether there was a choice."""
        return bool(self._choices)

    @property
    def finished(self) -> bool:
        """Whether every choice that began has a finish reason."""
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())

    @property
    def finish_reason(self) -> str | None:
        """The finish reason of the first choice."""
        choice = self._choices.get(0)
        return choice.finish_reason if choice else None

    @property
    def usage(self) -> dict[str, Any] | None:
        """The last usage that the server sent; None if it is too large to be one."""
        if self._usage is None or size_of(self._usage) > _MAX_USAGE_BYTES:
            return None
        cleaned = self._clean(self._usage)
        return cleaned if isinstance(cleaned, dict) else None

    @property
    def hidden_tokens(self) -> int:
        """Tokens that the model counts but did not stream: its reasoning, unless it showed it."""
        details = (self.usage or {}).get("completion_tokens_details")
        tokens = details.get("reasoning_tokens") if isinstance(details, dict) else None
        return max(tokens, 0) if isinstance(tokens, int) and not self._reasoned else 0

    def text(self) -> str:
        """Returns the content of the first choice."""
        choice = self._choices.get(0)
        return "".join(choice.text) if choice else ""

    def other_choices(self) -> list[dict[str, Any]]:
        """Returns content and finish reason of the choices besides the first."""
        return [
            {"choice": index, "content": "".join(choice.text), "finish_reason": choice.finish_reason}
            for index, choice in sorted(self._choices.items())
            if index != 0
        ]

    def add(self, data: bytes) -> list[NewEvent]:
        """Returns the events of one chunk.

        Raises ModelError for a chunk that is malformed or carries an error, AnswerTooLarge for one beyond a limit.
        """
        if matched := self._match(self._template, data):
            return matched
        events: list[NewEvent] = []
        current: list[NewEvent] = []
        try:
            for chunk in parse(data):
                current = []
                self._add_chunk(chunk, current)
                events += current
                if self._budget.exceeded:
                    raise AnswerTooLarge(self._budget.exceeded, events)
        except AnswerTooLarge:
            raise
        except ModelError:
            self._discard([*events, *current])
            raise
        if not self._choices:
            self.non_choice_chunk = data[:_MAX_NON_CHOICE_BYTES]
        if self._misses < _MAX_MISSES:
            self._misses += 1
            self._template = ChunkTemplate.of(data, events)
            self._frame_template = self._template and self._template.for_frame()
        return events

    def add_frame(self, frame: bytes) -> list[NewEvent]:
        """Returns the events of a whole SSE frame; an empty list if the frame has to be decoded first."""
        return self._match(self._frame_template, frame)

    def close(self) -> list[NewEvent]:
        """Returns the whole tool calls, their arguments parsed. Call it once, when the stream has ended."""
        events = []
        for index, choice in sorted(self._choices.items()):
            for call in choice.calls.all:
                fields = {"index": call.index, **call.fields()}
                events.append(_event("tool_call", index, fields))
                self.tool_calls.append(events[-1].fields)
            if choice.function is not None:
                fields = {"name": choice.function.name, **choice.function.parsed(), **choice.function.extra}
                events.append(_event("function_call", index, fields))
                if index == 0:
                    self.function_call = events[-1].fields
        return events

    def take_extra(self) -> dict[str, Any]:
        """Returns, once, the unknown fields that no event has carried, for the terminal event."""
        return self._extras.take()

    def _match(self, template: ChunkTemplate | None, data: bytes) -> list[NewEvent]:
        if template is None or not (text := template.text(data)):
            return []
        self.count += 1
        self._misses = 0
        self._choices[template.choice].text.append(text)
        fields: dict[str, Any] = {"content": text, "choice": template.choice} if template.choice else {"content": text}
        return [NewEvent("content", fields)]

    def _discard(self, events: list[NewEvent]) -> None:
        """Removes the texts of events that are not sent: the terminal event must not say more than the events."""
        for kind, fields in reversed(events):
            if kind in TEXT and fields["content"]:
                choice = self._choices[fields.get("choice", 0)]
                {"content": choice.text, "reasoning": choice.reasoning, "refusal": choice.refusal}[kind].pop_last()

    def _add_chunk(self, chunk: dict[str, Any], events: list[NewEvent]) -> None:
        """Adds to `events`, which is empty."""
        if (error := find_error(chunk)) is not None:
            raise reported_error(error)
        self._read_usage(chunk)
        called = False
        choices = as_dicts(chunk.get("choices"), "choices")
        # Some servers number the chunks in place of the choices.
        only = self._asked == 1 and len(choices) == 1
        for choice in choices:
            index = 0 if only else as_index(choice.get("index"), "index") or 0
            if index not in self._choices and not self._budget.add_choice(len(self._choices)):
                break
            called |= self._add_choice(index, choice, events)
        self._extras.add("", chunk, _CHUNK_FIELDS)
        self._extras.attach_to(events)
        if called or events:
            self.count += 1

    def _read_usage(self, chunk: dict[str, Any]) -> None:
        """Takes the usage of a chunk. An empty usage does not clear the one before."""
        usage = chunk.get("usage")
        if not usage and isinstance(groq := chunk.get("x_groq"), dict):
            usage = groq.get("usage")
        if usage and isinstance(usage, dict):
            self._usage = usage

    def _add_choice(self, index: int, choice: dict[str, Any], events: list[NewEvent]) -> bool:
        """Adds to `events`. Returns whether there was a fragment of a function call, which makes no event yet."""
        finish_reason = as_text(choice.get("finish_reason") or None)
        if choice.get("error") or (finish_reason and finish_reason.lower() == "error"):
            raise reported_error(choice.get("error") or "its finish reason is `error`")
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _ChoiceState(self._budget, self._clean)
        before = len(events)
        called = self._add_texts(index, state, choice, events)
        if finish_reason and finish_reason.lower() not in ("null", "none"):
            state.finish_reason = self._clean(finish_reason)[:_MAX_FINISH_REASON]
        if logprobs := choice.get("logprobs"):
            self._add_logprobs(index, logprobs, events, before)
        if not choice.keys() <= _CHOICE_FIELDS:
            self._extras.add(f"choices.{index}.", choice, _CHOICE_FIELDS)
        return called

    def _add_texts(self, index: int, state: _ChoiceState, choice: dict[str, Any], events: list[NewEvent]) -> bool:
        """Adds what a choice says: as a delta, as a whole message, or as the `text` of the older API."""
        before = len(events)
        delta = as_dict(choice.get("delta"), "delta")
        called = self._add_delta(index, state, delta, events)
        state.streamed = state.streamed or len(events) > before
        # A server that does not stream sends one whole `message`. Some send it beside the deltas or after them.
        if message := as_dict(choice.get("message"), "message"):
            called |= self._add_delta(index, state, state.unseen_part(message), events)
            parts = {name: rich_parts(message.get(name)) for name in FIELDS_WITH_PARTS}
            self._extras.add_delta(_path(index), parts, frozenset(), alone=False)
        elif not delta and (text := plain_text(choice.get("text"))):
            called |= self._add_delta(index, state, {"content": text}, events)
        return called

    def _add_logprobs(self, index: int, logprobs: Any, events: list[NewEvent], before: int) -> None:
        """Gives the log probabilities to the first event of the choice, which is at `before`."""
        logprobs = self._clean(logprobs)
        if len(events) == before and _has_tokens(logprobs):
            # A token that is part of a character has no text of its own.
            events.append(_event("content", index, {"content": ""}))
        if len(events) > before:
            events[before].fields["logprobs"] = logprobs

    def _add_delta(self, index: int, state: _ChoiceState, delta: dict[str, Any], events: list[NewEvent]) -> bool:
        before = len(events)
        if text := reasoning_text(delta):
            self._reasoned = True
            state.reasoning.append(text)
            events.append(_event("reasoning", index, {"content": text}))
            if (name := reasoning_field(delta)) != self._reasoning_field:
                self._reasoning_field = events[-1].fields["field"] = name
        if text := plain_text(delta.get("content")):
            state.text.append(text)
            events.append(_event("content", index, {"content": text}))
        if text := plain_text(delta.get("refusal")):
            state.refusal.append(text)
            events.append(_event("refusal", index, {"content": text}))
        if fragments := as_dicts(delta.get("tool_calls"), "tool_calls", lone=True):
            for fields in state.calls.add(fragments):
                events.append(_event("tool_call_delta", index, fields))
        if function := as_dict(delta.get("function_call"), "function_call"):
            self._add_function(state, function)
        if not delta.keys() <= _DELTA_FIELDS:
            if error := delta.get("error"):
                raise reported_error(error)
            self._extras.add_delta(_path(index), delta, _DELTA_FIELDS, alone=len(events) == before)
        for name in FIELDS_WITH_PARTS:
            value = delta.get(name)
            if value and not isinstance(value, str) and (rest := rich_parts(value)):
                self._extras.add_piece(_path(index) + name, rest)
        return bool(function)

    def _add_function(self, state: _ChoiceState, function: dict[str, Any]) -> None:
        """Adds a fragment of the older API's `function_call`."""
        call = state.function = state.function or ToolCall(0)
        text = call.extend(function)
        call.name = self._clean(call.name)
        extra = {name: value for name, value in function.items() if name not in _FUNCTION_FIELDS}
        if self._budget.add_fragment(len(text) + len(call.name or "") + size_of(extra)):
            call.extra |= self._clean(extra)


def _path(index: int) -> str:
    return f"choices.{index}.delta."


def _event(kind: str, index: int, fields: dict[str, Any]) -> NewEvent:
    """Returns an event of a choice. The first choice has no number."""
    if index:
        fields["choice"] = index
    return NewEvent(kind, fields)


def _has_tokens(logprobs: Any) -> bool:
    return isinstance(logprobs, dict) and any(logprobs.get(name) for name in ("content", "refusal"))
