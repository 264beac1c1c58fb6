"""Adds up the events of a log: the text, the tool calls and the end so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from readalong.core.events import ITEMS, TEXT, Event
from readalong.core.states import TERMINAL

#: Where `extra` has them.
_ITEMS: Final = f"choices.0.delta.{ITEMS}"


@dataclass(slots=True)
class Transcript:
    """One attempt's words. A `restarted` event voids what came before it."""

    last_seq: int = 0
    attempt: int = 0
    content: dict[int, list[str]] = field(default_factory=dict)
    reasoning: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    function_call: dict[str, Any] | None = None
    #: Items that no event type names, such as a model's encrypted reasoning, and how many calls had begun before each.
    items: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    end: str | None = None
    end_fields: dict[str, Any] = field(default_factory=dict)
    _calls: int = 0

    def add(self, event: Event) -> None:
        """Adds the next event of the log. An unknown type changes only the position."""
        self.last_seq = event.seq
        kind = event.type
        if kind in TEXT:
            fields = event.fields()
            if "extra" in fields:
                self._add_items(fields["extra"])
            if kind == "content":
                self.content.setdefault(fields.get("choice", 0), []).append(fields["content"])
            elif not fields.get("choice"):
                (self.reasoning if kind == "reasoning" else self.refusal).append(fields["content"])
        elif kind in ("started", "restarted"):
            self._void()
            self.attempt = event.fields()["attempt"]
        elif kind == "tool_call_delta":
            fields = event.fields()
            if not fields.get("choice"):
                self._calls = max(self._calls, fields.get("index", -1) + 1)
        elif kind == "tool_call":
            self.tool_calls.append(event.fields())
        elif kind == "function_call":
            self.function_call = event.fields()
        elif kind in TERMINAL:
            self.end = kind
            self.end_fields = event.fields()

    def add_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self.add(event)

    @classmethod
    def of_end(cls, event: Event, *, refusal: bool = False) -> Transcript | None:
        """Returns what was said, by the terminal event alone; None if it does not say all that a job shows.

        `refusal`: that is wanted too. The end does not repeat it: None if nothing else was said.
        """
        fields = event.fields() if event.terminal else {}
        # An end of a lost worker's job, which names its own epoch, did not always say which calls were made.
        if "content" not in fields or ("epoch" in fields and "tool_calls" not in fields):
            return None
        # The end only counts the items.
        if ITEMS in (fields.get("extra") or {}):
            return None
        said = cls(
            last_seq=event.seq,
            tool_calls=fields.get("tool_calls", []),
            function_call=fields.get("function_call"),
            end=event.type,
            end_fields=fields,
        )
        said.content[0] = [fields["content"]]
        if refusal and not (fields["content"] or said.tool_calls or said.function_call):
            return None
        return said

    def text(self, choice: int = 0) -> str:
        """Returns the content of one choice so far."""
        return "".join(self.content.get(choice, ()))

    def _add_items(self, extra: dict[str, Any]) -> None:
        given = extra.get(_ITEMS)
        for item in given if isinstance(given, list) else []:
            if isinstance(item, dict):
                self.items.append((self._calls, item))

    def _void(self) -> None:
        self.items.clear()
        self._calls = 0
        self.content.clear()
        self.reasoning.clear()
        self.refusal.clear()
        self.tool_calls.clear()
        self.function_call = None
