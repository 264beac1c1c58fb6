"""The model's chunks to events: a pure fold, one for each call to the model.

The form is OpenAI's `chat.completion.chunk` with what other servers make of it: `docs/models.md` lists the deviations
that are understood.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from readalong.core.errors import ModelError
from readalong.core.events import TEXT, NewEvent
from readalong.worker.model.chunk_template import ChunkTemplate
from readalong.worker.model.error_messages import failure_in, reported
from readalong.worker.model.extra_fields import ExtraFields
from readalong.worker.model.lenient_json import as_dict, as_dicts, as_index, as_text, parse
from readalong.worker.model.limits import AnswerTooLarge, Budget, Limits, size_of
from readalong.worker.model.tool_calls import ToolCall, ToolCallAccumulator

#: The names that servers give to the text of reasoning, in order of preference.
_REASONING: Final = ("reasoning_content", "reasoning")
#: Fields of a chunk that are folded, or that say nothing (`obfuscation` is random padding).
_CHUNK_FIELDS: Final = frozenset({"choices", "usage", "error", "obfuscation"})
_CHOICE_FIELDS: Final = frozenset({"index", "delta", "message", "text", "finish_reason", "logprobs", "error"})
_DELTA_FIELDS: Final = frozenset(
    {"role", "content", "refusal", "tool_calls", "function_call", "reasoning_details", *_REASONING}
)
#: Fields of a part of a text that are understood; a part with others is also kept as it came.
_PART_FIELDS: Final = frozenset({"type", "text", "thinking", "summary", "index", "format", "id"})
_FUNCTION_FIELDS: Final = frozenset({"name", "arguments", "choice"})
#: Fields of a delta whose parts may hold more than text.
_IN_PARTS: Final = ("content", "reasoning_details")
#: Chunks in a row that fit no mould, after which none is made any more: this server's are all different.
_MOST_MISSES: Final = 16
#: Bytes of a chunk without a choice that are kept for the error of an answer without one.
_MOST_ODD: Final = 65_536
#: Bytes of what a server counts, and letters of why it stopped.
_MOST_USAGE: Final = 65_536
_LONGEST_REASON: Final = 200


def _as_it_is(value: Any) -> Any:
    return value


class _Pieces(list[str]):
    """The pieces of a text."""

    _counted = 0
    _size = 0

    def begin(self, text: str) -> bool:
        """Whether the text begins with all of them. Joined for a shorter one each time, they would cost a square."""
        self._size += sum(map(len, self[self._counted :]))
        self._counted = len(self)
        return len(text) >= self._size and text.startswith("".join(self))

    def size(self) -> int:
        """Characters, after `begin`."""
        return self._size

    def take_back(self) -> None:
        """Forgets the newest."""
        self.pop()
        self._counted = self._size = 0


class _Choice:
    __slots__ = ("calls", "finish_reason", "function", "reasoning", "refusal", "streamed", "text")

    def __init__(self, budget: Budget, clean: Callable[[Any], Any]) -> None:
        self.text = _Pieces()
        self.reasoning = _Pieces()
        self.refusal = _Pieces()
        self.calls = ToolCallAccumulator(budget, clean)
        self.function: ToolCall | None = None
        self.finish_reason: str | None = None
        #: Deltas have said something: a message is the whole once more, and no piece.
        self.streamed = False


class ChunkAccumulator:
    """What one call to the model has said so far. `add` takes each chunk; `close` what is whole at the end."""

    def __init__(
        self,
        asked: int | None = None,
        *,
        limits: Limits = Limits(),  # noqa: B008 (it is frozen)
        clean: Callable[[Any], Any] = _as_it_is,
    ) -> None:
        """`asked` is the number of choices that the request asks for, if that is known. `clean` takes our keys out of a
        value that is not the model's own text."""
        #: Pieces that said something; not the events they were merged into.
        self.count = 0
        #: The last chunk without a choice that came before the first one.
        self.odd = b""
        self.tool_calls: list[dict[str, Any]] = []
        self.function_call: dict[str, Any] | None = None
        self._asked = asked
        self._choices: dict[int, _Choice] = {}
        self._usage: dict[str, Any] | None = None
        self._clean = clean
        self._budget = Budget(limits, asked)
        self._extras = ExtraFields(self._budget, clean)
        self._reasoned = False
        self._mould: ChunkTemplate | None = None
        self._framed: ChunkTemplate | None = None
        self._misses = 0

    @property
    def begun(self) -> bool:
        """Whether there was a choice."""
        return bool(self._choices)

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
    def usage(self) -> dict[str, Any] | None:
        """The tokens that the server counted last; None for a count of a size that no count has."""
        if self._usage is None or size_of(self._usage) > _MOST_USAGE:
            return None
        cleaned = self._clean(self._usage)
        return cleaned if isinstance(cleaned, dict) else None

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

    def add(self, data: bytes) -> list[NewEvent]:
        """The events of one chunk. Raises ModelError for one that is malformed or that carries an error, and
        AnswerTooLarge for one that does not fit."""
        if said := self._by_mould(self._mould, data):
            return said
        drafts: list[NewEvent] = []
        own: list[NewEvent] = []
        try:
            for chunk in parse(data):
                own = []
                self._add_parsed(chunk, own)
                drafts += own
                if self._budget.over:
                    raise AnswerTooLarge(self._budget.over, drafts)
        except AnswerTooLarge:
            raise
        except ModelError:
            self._take_back([*drafts, *own])
            raise
        if not self._choices:
            self.odd = data[:_MOST_ODD]
        if self._misses < _MOST_MISSES:
            self._misses += 1
            self._mould = ChunkTemplate.of(data, drafts)
            self._framed = self._mould and self._mould.framed()
        return drafts

    def add_frame(self, frame: bytes) -> list[NewEvent]:
        """The events of a whole frame of an event stream. Empty if the frame has to be read to know them."""
        return self._by_mould(self._framed, frame)

    def close(self) -> list[NewEvent]:
        """The calls that are whole now that the stream has ended, their arguments parsed."""
        drafts = []
        for index, choice in sorted(self._choices.items()):
            for call in choice.calls.all:
                fields = {"index": call.index, **call.fields()}
                drafts.append(NewEvent("tool_call", _of_choice(fields, index)))
                self.tool_calls.append(drafts[-1].fields)
            if choice.function is not None:
                fields = {"name": choice.function.name, **choice.function.parsed(), **choice.function.extra}
                drafts.append(NewEvent("function_call", _of_choice(fields, index)))
                if index == 0:
                    self.function_call = drafts[-1].fields
        return drafts

    def take_extra(self) -> dict[str, Any]:
        """Fields that came with no event of their own, for the end to carry."""
        return self._extras.take()

    def _by_mould(self, mould: ChunkTemplate | None, data: bytes) -> list[NewEvent]:
        if mould is None or not (text := mould.text(data)):
            return []
        self.count += 1
        self._misses = 0
        self._choices[mould.choice].text.append(text)
        fields: dict[str, Any] = {"content": text, "choice": mould.choice} if mould.choice else {"content": text}
        return [NewEvent("content", fields)]

    def _take_back(self, drafts: list[NewEvent]) -> None:
        """Forgets the texts of a message whose events are not told, lest the end say what no event has said."""
        for kind, fields in reversed(drafts):
            if kind in TEXT and fields["content"]:
                choice = self._choices[fields.get("choice", 0)]
                {"content": choice.text, "reasoning": choice.reasoning, "refusal": choice.refusal}[kind].take_back()

    def _add_parsed(self, chunk: dict[str, Any], drafts: list[NewEvent]) -> None:
        """Adds to `drafts`, which is empty."""
        if (error := failure_in(chunk)) is not None:
            raise reported(error)
        self._count(chunk)
        said = False
        choices = as_dicts(chunk.get("choices"), "choices")
        # Some servers number the chunks in place of the choices.
        only = self._asked == 1 and len(choices) == 1
        for choice in choices:
            index = 0 if only else as_index(choice.get("index"), "index") or 0
            if index not in self._choices and not self._budget.choice(len(self._choices)):
                break
            said |= self._add_choice(index, choice, drafts)
        self._extras.keep("", chunk, _CHUNK_FIELDS)
        self._extras.join(drafts)
        if said or drafts:
            self.count += 1

    def _count(self, chunk: dict[str, Any]) -> None:
        """Takes the tokens that the server counted; an empty count does not clear them."""
        usage = chunk.get("usage")
        if not usage and isinstance(groq := chunk.get("x_groq"), dict):
            usage = groq.get("usage")
        if usage and isinstance(usage, dict):
            self._usage = usage

    def _add_choice(self, index: int, choice: dict[str, Any], drafts: list[NewEvent]) -> bool:
        """Adds to `drafts`. Returns whether there was a fragment of a function call, which is no event yet."""
        why = as_text(choice.get("finish_reason") or None)
        if choice.get("error") or (why and why.lower() == "error"):
            raise reported(choice.get("error") or "its finish reason is `error`")
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice(self._budget, self._clean)
        before = len(drafts)
        delta = as_dict(choice.get("delta"), "delta")
        called = self._add_delta(index, state, delta, drafts)
        state.streamed = state.streamed or len(drafts) > before
        # A server that does not stream answers with a whole `message`; some put one beside the deltas or after them.
        if message := as_dict(choice.get("message"), "message"):
            called |= self._add_delta(index, state, _unsaid(message, state), drafts)
            parts = {name: _not_understood(message.get(name)) for name in _IN_PARTS}
            self._extras.keep_said(_path(index), parts, frozenset(), alone=False)
        elif not delta and (text := _text(choice.get("text"))):
            called |= self._add_delta(index, state, {"content": text}, drafts)
        if why and why.lower() not in ("null", "none"):
            state.finish_reason = self._clean(why)[:_LONGEST_REASON]
        if logprobs := choice.get("logprobs"):
            logprobs = self._clean(logprobs)
            if len(drafts) == before and _has_tokens(logprobs):
                # A token that is part of a character has no text of its own.
                drafts.append(NewEvent("content", _of_choice({"content": ""}, index)))
            if len(drafts) > before:
                drafts[before].fields["logprobs"] = logprobs
        if not choice.keys() <= _CHOICE_FIELDS:
            self._extras.keep(f"choices.{index}.", choice, _CHOICE_FIELDS)
        return called

    def _add_delta(self, index: int, state: _Choice, delta: dict[str, Any], drafts: list[NewEvent]) -> bool:
        before = len(drafts)
        if text := _reasoning(delta):
            self._reasoned = True
            state.reasoning.append(text)
            drafts.append(NewEvent("reasoning", _of_choice({"content": text}, index)))
        if text := _text(delta.get("content")):
            state.text.append(text)
            drafts.append(NewEvent("content", _of_choice({"content": text}, index)))
        if text := _text(delta.get("refusal")):
            state.refusal.append(text)
            drafts.append(NewEvent("refusal", _of_choice({"content": text}, index)))
        if fragments := as_dicts(delta.get("tool_calls"), "tool_calls", lone=True):
            for fields in state.calls.add(fragments):
                drafts.append(NewEvent("tool_call_delta", _of_choice(fields, index)))
        if function := as_dict(delta.get("function_call"), "function_call"):
            state.function = state.function or ToolCall(0)
            said = state.function.extend(function)
            state.function.name = self._clean(state.function.name)
            extra = {name: value for name, value in function.items() if name not in _FUNCTION_FIELDS}
            if self._budget.fragment(len(said) + len(state.function.name or "") + size_of(extra)):
                state.function.extra |= self._clean(extra)
        if not delta.keys() <= _DELTA_FIELDS:
            if error := delta.get("error"):
                raise reported(error)
            self._extras.keep_said(_path(index), delta, _DELTA_FIELDS, alone=len(drafts) == before)
        for name in _IN_PARTS:
            value = delta.get(name)
            if value and not isinstance(value, str) and (rest := _not_understood(value)):
                self._extras.put(_path(index) + name, rest)
        return bool(function)


def _unsaid(message: dict[str, Any], state: _Choice) -> dict[str, Any]:
    """What of a whole message was not said before, as a delta."""
    rest = dict(message)
    for name, said in (("content", state.text), ("refusal", state.refusal)):
        rest[name] = _after(said, _text(message.get(name)), state)
    for name in (*_REASONING, "reasoning_details"):
        rest.pop(name, None)
    rest["reasoning"] = _after(state.reasoning, _reasoning(message), state)
    calls = as_dicts(message.get("tool_calls"), "tool_calls", lone=True)
    rest["tool_calls"] = [call for call in calls if not state.calls.has(call)]
    if state.function is not None:
        rest.pop("function_call", None)
    return rest


def _after(said: _Pieces, text: str, state: _Choice) -> str:
    if said.begin(text):
        return text[said.size() :]
    return "" if state.streamed else text


def _path(index: int) -> str:
    return f"choices.{index}.delta."


def _of_choice(fields: dict[str, Any], index: int) -> dict[str, Any]:
    if index:
        fields["choice"] = index
    return fields


def _text(value: Any) -> str:
    """Text, given as such, in an object or in a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        texts = (part.get("text") for part in value if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))
    if isinstance(value, dict):
        text = value.get("text") or value.get("content")
        return text if isinstance(text, str) else ""
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
    parts = value if isinstance(value, list) else [value] if isinstance(value, dict) else []
    return [part for part in parts if not isinstance(part, dict) or part.keys() - _PART_FIELDS]


def _has_tokens(logprobs: Any) -> bool:
    return isinstance(logprobs, dict) and any(logprobs.get(name) for name in ("content", "refusal"))
