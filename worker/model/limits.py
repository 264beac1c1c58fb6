"""Limits of one answer, and the error beyond them (pure)."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Self

import orjson

from readalong.core.errors import ModelError
from readalong.core.events import NewEvent
from readalong.core.settings import Settings

#: Bytes that an event, a fragment or a field costs besides its text, in Redis and in Python.
OVERHEAD: Final = 100
#: Longest line, message and JSON document of a response, in bytes: a picture is one line.
MAX_LINE_BYTES: Final = 67_108_864
#: Lines of one message.
MAX_LINES: Final = 100_000
#: JSON values of one message: in Python each takes up to a hundred times its bytes.
MAX_VALUES: Final = 1_000_000
#: Names of unknown fields: all are kept, to tell a new value from an old one.
_MAX_NAMES: Final = 1_000
#: Choices if the number asked for is unknown: the most that a request may ask for.
_MAX_CHOICES: Final = 128


class AnswerTooLarge(ModelError):
    """Another try would bring the same. `events` are the events within the limit."""

    def __init__(self, what: str, events: list[NewEvent] | None = None) -> None:
        super().__init__("model_answer_too_large", f"The model's answer has more than {what}.", retryable=False)
        self.events = events or []


class Limits(NamedTuple):
    """Limits of one answer, in bytes unless said otherwise.

    `answer`: its events in the log. `response`: the decompressed body. `extra`: unknown fields. `calls`: the number of
    tool calls. `call_bytes`: all tool calls.
    """

    answer: int = 67_108_864
    response: int = 1_073_741_824
    extra: int = 33_554_432
    calls: int = 256
    call_bytes: int = 33_554_432

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Returns the limits that the settings name."""
        return cls(
            answer=settings.max_answer_bytes,
            response=settings.max_response_bytes,
            extra=settings.max_extra_bytes,
            calls=settings.max_tool_calls,
            call_bytes=settings.max_tool_call_bytes,
        )

    @property
    def line(self) -> int:
        """Longest line or message."""
        return min(MAX_LINE_BYTES, self.answer)


class Budget:
    """Counts what an answer holds besides its text. After the first excess, which `exceeded` names, nothing fits."""

    def __init__(self, limits: Limits, choices: int | None = None) -> None:
        """`choices`: the number that was asked for, None if unknown."""
        self.exceeded = ""
        self._limits = limits
        self._choices = _MAX_CHOICES if choices is None else max(choices, 1)
        self._extra = 0
        self._calls = 0
        self._call_bytes = 0

    def add_choice(self, count: int) -> bool:
        """Returns whether one more choice than `count` fits."""
        return self._fits(count < self._choices, f"the {self._choices} choices that it was asked for")

    def add_field(self, place: str, value: Any, names: int) -> bool:
        """Counts the value of an unknown field, one of `names` fields. Returns whether it fits."""
        self._extra += len(place) + size_of(value)
        return self._fits(names <= _MAX_NAMES, f"{_MAX_NAMES} unknown fields") and self._fits(
            self._extra <= self._limits.extra, f"{self._limits.extra} bytes of unknown fields"
        )

    def add_call(self) -> bool:
        """Counts a tool call. Returns whether it fits."""
        self._calls += 1
        return self._fits(self._calls <= self._limits.calls, f"{self._limits.calls} tool calls")

    def add_fragment(self, size: int) -> bool:
        """Counts a fragment of a call, whose event has `size` bytes. Returns whether it fits."""
        self._call_bytes += size + OVERHEAD
        return self._fits(self._call_bytes <= self._limits.call_bytes, f"{self._limits.call_bytes} bytes of tool calls")

    def _fits(self, fits: bool, what: str) -> bool:
        if not fits and not self.exceeded:
            self.exceeded = what
        return not self.exceeded


def size_of(value: Any) -> int:
    """Returns the bytes of a value as JSON."""
    return len(value) if isinstance(value, str) else len(orjson.dumps(value))


def has_too_many_values(data: bytes | str) -> bool:
    """Returns whether JSON may hold too many values. Commas and brackets inside strings count too."""
    if len(data) <= MAX_VALUES:
        return False
    if isinstance(data, str):
        return data.count(",") + data.count("[") + data.count("{") > MAX_VALUES
    return data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_VALUES
