"""What one answer of a model may hold, and the error for one that holds more (pure)."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Self

import orjson

from readalong.core.errors import ModelError
from readalong.core.events import NewEvent
from readalong.core.settings import Settings

#: Bytes that an event, a fragment or a field costs besides what it says: in Redis, and as objects of Python.
OVERHEAD: Final = 100
#: Longest line, message and JSON document of a response, in bytes: a picture is one.
LONGEST_LINE: Final = 67_108_864
#: Lines of one message.
MOST_LINES: Final = 100_000
#: Values of one message: in Python each takes up to a hundred times its bytes in JSON.
MOST_VALUES: Final = 1_000_000
#: Names of fields that no event type names: all are kept, to tell a new value from an old one.
_MOST_NAMES: Final = 1_000
#: Choices where it is not known how many were asked for: as many as anybody may ask for.
_MOST_CHOICES: Final = 128


class AnswerTooLarge(ModelError):
    """Another try would bring the same. `drafts` are the events of what still fitted."""

    def __init__(self, what: str, drafts: list[NewEvent] | None = None) -> None:
        super().__init__("model_answer_too_large", f"The model's answer has more than {what}.", retryable=False)
        self.drafts = drafts or []


class Limits(NamedTuple):
    """`answer`: bytes of its events in the log; `response`: bytes of the body, decompressed; `extra`: bytes of fields
    that no event type names; `calls` and `call_bytes`: tool calls, and what they say; `line`: bytes of one message."""

    answer: int = 67_108_864
    response: int = 1_073_741_824
    extra: int = 33_554_432
    calls: int = 256
    call_bytes: int = 33_554_432

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            answer=settings.max_answer_bytes,
            response=settings.max_response_bytes,
            extra=settings.max_extra_bytes,
            calls=settings.max_tool_calls,
            call_bytes=settings.max_tool_call_bytes,
        )

    @property
    def line(self) -> int:
        return min(LONGEST_LINE, self.answer)


class Budget:
    """Counts what an answer holds besides its text. The first thing that does not fit is named in `over`, and nothing
    fits any more."""

    def __init__(self, limits: Limits, choices: int | None = None) -> None:
        """`choices`: how many were asked for, if that is known."""
        self.over = ""
        self._limits = limits
        self._choices = _MOST_CHOICES if choices is None else max(choices, 1)
        self._extra = 0
        self._calls = 0
        self._call_bytes = 0

    def choice(self, count: int) -> bool:
        """Whether one more choice than `count` fits."""
        return self._fits(count < self._choices, f"the {self._choices} choices that it was asked for")

    def field(self, place: str, value: Any, names: int) -> bool:
        """Whether the value of a field that no event type names fits, as one of `names`."""
        self._extra += len(place) + size_of(value)
        return self._fits(names <= _MOST_NAMES, f"{_MOST_NAMES} unknown fields") and self._fits(
            self._extra <= self._limits.extra, f"{self._limits.extra} bytes of unknown fields"
        )

    def call(self) -> bool:
        """Whether one more tool call fits."""
        self._calls += 1
        return self._fits(self._calls <= self._limits.calls, f"{self._limits.calls} tool calls")

    def fragment(self, size: int) -> bool:
        """Whether a fragment of a call fits, whose event holds so many bytes."""
        self._call_bytes += size + OVERHEAD
        return self._fits(self._call_bytes <= self._limits.call_bytes, f"{self._limits.call_bytes} bytes of tool calls")

    def _fits(self, fits: bool, what: str) -> bool:
        if not fits and not self.over:
            self.over = what
        return not self.over


def size_of(value: Any) -> int:
    """Bytes of a value as JSON."""
    return len(value) if isinstance(value, str) else len(orjson.dumps(value))


def has_too_many_values(data: bytes | str) -> bool:
    """Whether JSON may hold more values than are read: commas and brackets inside of texts count too."""
    if len(data) <= MOST_VALUES:
        return False
    if isinstance(data, str):
        return data.count(",") + data.count("[") + data.count("{") > MOST_VALUES
    return data.count(b",") + data.count(b"[") + data.count(b"{") > MOST_VALUES
