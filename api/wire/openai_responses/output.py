"""The output items of a response: the log's events, one after the other, to items that open, grow and close."""

from __future__ import annotations

from typing import Any, Final

import orjson

from readalong.api.wire.openai_responses.items import Call, Speech, WireEvent, item_event
from readalong.core.events import ITEMS
from readalong.core.thread_entries import with_model_id

_TEXTS: Final = {"content": "output_text", "refusal": "refusal"}
#: Where the log keeps the annotations of the first choice.
_ANNOTATIONS: Final = ("choices.0.delta.annotations", "choices.0.message.annotations")
#: Where it has whole items, and whether the reasoning is a summary, of a model that is asked by the Responses API.
_ITEMS: Final = f"choices.0.delta.{ITEMS}"
_REASONING_TYPE: Final = "choices.0.delta.reasoning_type"
#: Fields of a call's events that are read. The others are the model's own.
_CALL_FIELDS: Final = frozenset(
    {"index", "id", "name", "tool_type", "arguments", "input", "arguments_error", "arguments_text", "choice"}
)
#: What the ids of calls begin with.
_CALLS: Final = ("fc", "ctc")
#: What marks the id of a call whose own id is taken; see `model_call_id`.
_MARK: Final = "~"


class Output:
    """The items of the present attempt, and behind them those of lost attempts, whose places stay taken.

    Only the first choice has items: a response has one answer.
    """

    def __init__(self, job_id: str, *, summarized: bool) -> None:
        """`summarized`: reasoning is shown as a summary, as the request asks."""
        self._job_id = job_id
        self._reasoning = "summary_text" if summarized else "reasoning_text"
        self._attempt = 1
        self._next = 0
        #: The items of the present attempt that have begun, by the beginning of their ids.
        self._begun: dict[str, int] = {}
        self._lost: tuple[bytes, ...] = ()
        #: The closed items by their output index.
        self._done: dict[int, bytes] = {}
        self._speech: Speech | None = None
        #: The open calls by the index that the log gives them.
        self._calls: dict[int, Call] = {}
        self._call_ids: frozenset[str] = frozenset()

    def take(self, kind: str, fields: dict[str, Any]) -> list[WireEvent]:
        """Takes in an event that says something. Others make no events."""
        if fields.get("choice"):
            return []
        events: list[WireEvent] = []
        extra = fields.get("extra") or {}
        if extra.get(_REASONING_TYPE) in ("reasoning_text", "summary_text"):
            self._reasoning = extra[_REASONING_TYPE]
        if kind in _TEXTS:
            logprobs = _logprobs(fields.get("logprobs"), kind)
            if fields["content"] or logprobs:
                speech = self._open_speech("message", events)
                events += speech.say(_TEXTS[kind], fields["content"], logprobs)
        elif kind == "reasoning":
            if fields["content"]:
                events += self._open_speech("reasoning", events).say(self._reasoning, fields["content"], [])
        elif kind == "tool_call_delta":
            call = self._open_call(fields, events)
            call.name = fields.get("name") or call.name
            if fields.get("arguments"):
                events += call.say(fields["arguments"])
        elif kind in ("tool_call", "function_call"):
            self._finish_call(fields, events)
        if extra:
            self._annotate(extra, events)
            self._add_items(extra.get(_ITEMS), events)
        return events

    def close(self, status: str, *, cut: bool = False) -> list[WireEvent]:
        """Closes what is open. `cut`: the answer broke off."""
        events = self._close_speech(status, cut=cut)
        for index in list(self._calls):
            events += self._close_call(index, status)
        return events

    def restart(self, attempt: int) -> list[WireEvent]:
        """Closes what is open as incomplete; the new attempt has no item yet."""
        events = self.close("incomplete", cut=True)
        self._lost = (*self._lost, *self.items())
        self._done, self._begun, self._attempt = {}, {}, attempt
        return events

    def items(self) -> list[bytes]:
        """Returns the items of the present attempt so far."""
        found = dict(self._done)
        for item in (self._speech, *self._calls.values()):
            if item is not None:
                found[item.index] = item.json("in_progress")
        return [found[index] for index in sorted(found)]

    def all_items(self) -> list[bytes]:
        """Returns the items of lost attempts, and those of the present one: one for each output index."""
        return [*self._lost, *self.items()]

    def _place(self, prefix: str) -> tuple[str, int]:
        """Returns the id and the output index of a new item. The ids are those that `thread_entries.answer_entries`
        gives to the same answer in its thread."""
        index, self._next = self._next, self._next + 1
        kind = "call" if prefix in _CALLS else prefix
        number = self._begun[kind] = self._begun.get(kind, -1) + 1
        attempt = f"_a{self._attempt}" if self._attempt > 1 else ""
        return f"{prefix}_{self._job_id}{attempt}{f'_{number}' if number or prefix in _CALLS else ''}", index

    def _open_speech(self, kind: str, events: list[WireEvent]) -> Speech:
        if self._speech is not None and self._speech.type == kind:
            return self._speech
        events += self._close_speech("completed")
        speech = self._speech = Speech(kind, *self._place("msg" if kind == "message" else "rs"))
        events += speech.open()
        return speech

    def _close_speech(self, status: str, *, cut: bool = False) -> list[WireEvent]:
        speech, self._speech = self._speech, None
        if speech is None:
            return []
        events = speech.close(status, cut=cut)
        self._done[speech.index] = speech.json(status)
        return events

    def _open_call(self, fields: dict[str, Any], events: list[WireEvent]) -> Call:
        number = fields.get("index", -1)
        call = self._calls.get(number)
        if call is None:
            events += self._close_speech("completed")
            custom = fields.get("tool_type") == "custom"
            item_id, index = self._place("ctc" if custom else "fc")
            call_id = self._unique(fields.get("id"), item_id, index)
            call = self._calls[number] = Call(item_id, index, call_id, fields.get("name") or "", custom=custom)
            events += call.open()
        return call

    def _finish_call(self, fields: dict[str, Any], events: list[WireEvent]) -> None:
        call = self._open_call(fields, events)
        call.name = fields.get("name") or call.name
        call.rest = orjson.dumps({name: value for name, value in fields.items() if name not in _CALL_FIELDS})
        status = "incomplete" if "arguments_error" in fields else "completed"
        events += self._close_call(fields.get("index", -1), status, _whole_text(call, fields))

    def _close_call(self, number: int, status: str, text: str | None = None) -> list[WireEvent]:
        call = self._calls.pop(number)
        events = call.close(status, text)
        self._done[call.index] = call.json(status)
        return events

    def _unique(self, call_id: str | None, item_id: str, index: int) -> str:
        """Returns an id that no other call of the stream has: the SDKs refuse two of one id. Some servers count the
        calls of each answer from 0, so a second attempt repeats them."""
        if not call_id:
            call_id = f"call_{item_id.partition('_')[2]}"
        elif call_id in self._call_ids:
            call_id = f"{call_id}{_MARK}{index}"
        self._call_ids |= {call_id}
        return call_id

    def _annotate(self, extra: dict[str, Any], events: list[WireEvent]) -> None:
        for name in _ANNOTATIONS:
            annotations = extra.get(name)
            for annotation in annotations if isinstance(annotations, list) else []:
                if isinstance(annotation, dict):
                    events += self._open_speech("message", events).annotate(_annotation(annotation))

    def _add_items(self, items: Any, events: list[WireEvent]) -> None:
        """Adds whole items. One of reasoning completes what was said of it."""
        for item in items if isinstance(items, list) else []:
            if not isinstance(item, dict):
                continue
            if item.get("type") == "reasoning":
                speech = self._open_speech("reasoning", events)
                speech.encrypted = with_model_id(item).get("encrypted_content") or ""
                events += self._close_speech("completed")
                continue
            events += self._close_speech("completed")
            item_id, index = self._place("item")
            whole = self._done[index] = orjson.dumps({**item, "id": item_id})
            events += [item_event("added", index, whole), item_event("done", index, whole)]


def model_call_id(call_id: str) -> str:
    """Returns the id that the model gave a call, from the one that a response shows."""
    own, mark, index = call_id.rpartition(_MARK)
    return own if mark and index.isdecimal() else call_id


def _whole_text(call: Call, fields: dict[str, Any]) -> str | None:
    """Returns the arguments as text: as the model wrote them, if that is what they were read as."""
    if call.custom:
        return fields.get("input")
    if fields.get("arguments_text") is not None:
        return str(fields["arguments_text"])
    arguments = fields.get("arguments")
    try:
        if orjson.loads(call.text) == arguments:
            return None
    except orjson.JSONDecodeError:
        pass
    return orjson.dumps(arguments).decode()


def _annotation(annotation: dict[str, Any]) -> dict[str, Any]:
    """Returns a chat annotation with its fields beside the type: chat has them in an object of the type's name."""
    kind = annotation.get("type")
    inner = annotation.get(kind) if isinstance(kind, str) else None
    return {"type": kind, **inner} if isinstance(inner, dict) else annotation


def _logprobs(logprobs: Any, kind: str) -> list[dict[str, Any]]:
    """Returns the log probabilities of a piece of text, with what the SDKs' types require."""
    tokens = logprobs.get(kind) if isinstance(logprobs, dict) else None
    return [
        {"top_logprobs": [], "bytes": [], **{name: value for name, value in token.items() if value is not None}}
        for token in (tokens if isinstance(tokens, list) else [])
        if isinstance(token, dict)
    ]
