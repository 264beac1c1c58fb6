"""What a job has said so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from readalong.client.events import (
    Content,
    End,
    Event,
    FunctionCall,
    Reasoning,
    Refusal,
    Restarted,
    Started,
    TerminalEvent,
    ToolCall,
    ToolCallDelta,
)


@dataclass(slots=True)
class PartialToolCall:
    """A tool call as it builds up. `arguments` is the text so far; `parsed` is its JSON once it is `complete`."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    parsed: Any = None
    complete: bool = False


class Transcript:
    """Holds the valid text at any time: a `restarted` event empties it, and the end corrects it.

    A watch that has joined late has the whole text from the end on.
    """

    def __init__(self) -> None:
        self.attempt = 0
        #: How often the job has started over.
        self.restarts = 0
        self.function_call: FunctionCall | None = None
        #: The terminal event.
        self.end: End | None = None
        self._texts: dict[int, list[str]] = {}
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, PartialToolCall] = {}

    def add(self, event: Event) -> None:
        """Takes in the next event."""
        if isinstance(event, Content):
            self._texts.setdefault(event.choice, []).append(event.content)
        elif isinstance(event, Reasoning | Refusal):
            if event.choice == 0:
                (self._reasoning if isinstance(event, Reasoning) else self._refusal).append(event.content)
        elif isinstance(event, ToolCallDelta | ToolCall):
            if event.choice == 0:
                self._add_call(event)
        elif isinstance(event, FunctionCall):
            self.function_call = event
        elif isinstance(event, Started | Restarted):
            self.attempt = event.attempt
            self.restarts += isinstance(event, Restarted)
            self._void()
        elif isinstance(event, TerminalEvent):
            self.end = event
            if isinstance(event.fields.get("content"), str):
                self._texts[0] = [event.content]

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return self.choice(0)

    def choice(self, index: int) -> str:
        """Returns the text of a choice."""
        return _joined(self._texts.get(index, []))

    @property
    def reasoning(self) -> str:
        return _joined(self._reasoning)

    @property
    def refusal(self) -> str:
        return _joined(self._refusal)

    @property
    def tool_calls(self) -> list[PartialToolCall]:
        """The tool calls so far, in order."""
        return [self._calls[index] for index in sorted(self._calls)]

    def _add_call(self, event: ToolCallDelta | ToolCall) -> None:
        call = self._calls.setdefault(event.index, PartialToolCall(event.index))
        call.id, call.name = event.id or call.id, event.name or call.name
        if isinstance(event, ToolCallDelta):
            call.arguments += event.arguments
        else:
            call.parsed, call.complete = event.arguments, True
            call.arguments = event.input or event.arguments_text or call.arguments

    def _void(self) -> None:
        self._texts.clear()
        self._reasoning.clear()
        self._refusal.clear()
        self._calls.clear()
        self.function_call = None


def _joined(pieces: list[str]) -> str:
    """Joins the pieces in place: asking after every piece would otherwise cost the square of the length."""
    if len(pieces) > 1:
        pieces[:] = ["".join(pieces)]
    return pieces[0] if pieces else ""
