"""A job's events as a client receives them: one frozen class a type, and the union `Event`.

`event.type` tells them apart, for `match` and for type checkers; so does `isinstance`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

_EMPTY: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseEvent:
    """What all events have."""

    #: The position after the event, to resume from: `40-9f3c21`. Empty for an event that is not in the log.
    position: str = ""
    #: Its number; 0 for an event that is not in the log.
    seq: int = 0
    #: The whole data, with the fields that have no name here.
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued(BaseEvent):
    """The job is submitted."""

    type: Literal["queued"] = "queued"
    job_id: str = ""
    model: str = ""
    created_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(BaseEvent):
    """A worker has begun."""

    type: Literal["started"] = "started"
    attempt: int = 1
    worker: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content(BaseEvent):
    """A piece of the text of a choice."""

    type: Literal["content"] = "content"
    content: str = ""
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning(BaseEvent):
    """A piece of the model's reasoning."""

    type: Literal["reasoning"] = "reasoning"
    content: str = ""
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal(BaseEvent):
    """A piece of the model's refusal."""

    type: Literal["refusal"] = "refusal"
    content: str = ""
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta(BaseEvent):
    """A piece of a tool call: `arguments` is the fragment. Transcript.tool_calls holds the call so far."""

    type: Literal["tool_call_delta"] = "tool_call_delta"
    index: int = 0
    id: str = ""
    name: str = ""
    arguments: str = ""
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall(BaseEvent):
    """A whole tool call. `arguments` is parsed; None for broken JSON, which `arguments_text` holds, and for a custom
    tool, which has an `input`."""

    type: Literal["tool_call"] = "tool_call"
    index: int = 0
    id: str = ""
    name: str = ""
    arguments: Any = None
    arguments_text: str = ""
    input: str | None = None
    choice: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall(BaseEvent):
    """A whole function call of the legacy form."""

    type: Literal["function_call"] = "function_call"
    name: str = ""
    arguments: Any = None
    arguments_text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(BaseEvent):
    """The job waits for the model or for a worker. `reason` and `seconds` until the next try are of the model."""

    type: Literal["waiting"] = "waiting"
    waits_for: str = ""
    reason: str = ""
    seconds: float | None = None
    since: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted(BaseEvent):
    """A new attempt: the text so far is void."""

    type: Literal["restarted"] = "restarted"
    attempt: int = 1
    reason: str = ""
    worker: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Other(BaseEvent):
    """An event of a type that this version does not know; `name` is the type."""

    type: Literal["other"] = "other"
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalEvent(BaseEvent):
    """What the three ends have: the whole text, the calls, and what the server measured."""

    content: str = ""
    tool_calls: Sequence[Mapping[str, Any]] = ()
    function_call: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(TerminalEvent):
    """The model has answered."""

    type: Literal["done"] = "done"
    finish_reason: str = ""
    choices: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(TerminalEvent):
    """The job was cancelled; the connection to the model is closed."""

    type: Literal["cancelled"] = "cancelled"
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(TerminalEvent):
    """The job has failed."""

    type: Literal["failed"] = "failed"
    code: str = ""
    message: str = ""
    retryable: bool = False


End: TypeAlias = Done | Cancelled | Failed
Event: TypeAlias = (
    Queued
    | Started
    | Content
    | Reasoning
    | Refusal
    | ToolCallDelta
    | ToolCall
    | FunctionCall
    | Waiting
    | Restarted
    | Done
    | Cancelled
    | Failed
    | Other
)


def parse_event(kind: str, fields: Mapping[str, Any], *, position: str = "", seq: int = 0) -> Event:
    """Returns the event of this type. A field of another type than documented counts as missing."""
    read = _Fields(fields)
    base: dict[str, Any] = {"position": position, "seq": seq, "fields": fields}
    make = _MAKERS.get(kind)
    return Other(name=kind, **base) if make is None else make(read, base)


class _Fields:
    """Reads fields that may have any type."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.all = fields

    def text(self, name: str) -> str:
        value = self.all.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str, default: int = 0) -> int:
        value = self.all.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def object(self, name: str) -> Mapping[str, Any]:
        value = self.all.get(name)
        return value if isinstance(value, dict) else _EMPTY

    def objects(self, name: str) -> list[Mapping[str, Any]]:
        value = self.all.get(name)
        return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []

    def seconds(self, name: str) -> float | None:
        value = self.all.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text_event(kind: type[Content] | type[Reasoning] | type[Refusal]) -> Callable[[_Fields, dict[str, Any]], Event]:
    return lambda read, base: kind(content=read.text("content"), choice=read.number("choice"), **base)


def _call(read: _Fields, base: dict[str, Any]) -> dict[str, Any]:
    return {
        "index": read.number("index"),
        "id": read.text("id"),
        "name": read.text("name"),
        "choice": read.number("choice"),
        **base,
    }


def _whole_call(read: _Fields, base: dict[str, Any]) -> Event:
    custom = read.text("input") if "input" in read.all else None
    given = read.all.get("arguments")
    return ToolCall(arguments=given, arguments_text=read.text("arguments_text"), input=custom, **_call(read, base))


def _function(read: _Fields, base: dict[str, Any]) -> Event:
    given = read.all.get("arguments")
    return FunctionCall(name=read.text("name"), arguments=given, arguments_text=read.text("arguments_text"), **base)


def _waiting(read: _Fields, base: dict[str, Any]) -> Event:
    return Waiting(
        waits_for=read.text("for"),
        reason=read.text("reason"),
        seconds=read.seconds("seconds"),
        since=read.text("since"),
        **base,
    )


def _end(read: _Fields, base: dict[str, Any]) -> dict[str, Any]:
    return {
        "content": read.text("content"),
        "tool_calls": read.objects("tool_calls"),
        "function_call": read.object("function_call") or None,
        "usage": read.object("usage") or None,
        "metrics": read.object("metrics"),
        **base,
    }


def _failed(read: _Fields, base: dict[str, Any]) -> Event:
    error = _Fields(read.object("error"))
    retryable = error.all.get("retryable") is True
    return Failed(code=error.text("code"), message=error.text("message"), retryable=retryable, **_end(read, base))


_MAKERS: Final[dict[str, Callable[[_Fields, dict[str, Any]], Event]]] = {
    "queued": lambda read, base: Queued(
        job_id=read.text("job_id"), model=read.text("model"), created_at=read.text("created_at"), **base
    ),
    "started": lambda read, base: Started(attempt=read.number("attempt", 1), worker=read.object("worker"), **base),
    "content": _text_event(Content),
    "reasoning": _text_event(Reasoning),
    "refusal": _text_event(Refusal),
    "tool_call_delta": lambda read, base: ToolCallDelta(arguments=read.text("arguments"), **_call(read, base)),
    "tool_call": _whole_call,
    "function_call": _function,
    "waiting": _waiting,
    "restarted": lambda read, base: Restarted(
        attempt=read.number("attempt", 1), reason=read.text("reason"), worker=read.object("worker"), **base
    ),
    "done": lambda read, base: Done(
        finish_reason=read.text("finish_reason"), choices=read.objects("choices"), **_end(read, base)
    ),
    "cancelled": lambda read, base: Cancelled(by=read.text("by"), **_end(read, base)),
    "failed": _failed,
}
