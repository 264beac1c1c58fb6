"""Passes on the fields of chunks that no event type names, each once and in order (pure)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from readalong.core.events import NewEvent
from readalong.worker.model.limits import Budget

#: Fields of a chunk that keep their first value; some servers count them up.
_FIRST_ONLY: Final = frozenset({"id", "object", "created"})
#: Fields that are pieces of something longer: the same value again says something new.
_PIECES: Final = frozenset({"audio", "token_ids"})


class ExtraFields:
    """The unknown fields of one answer.

    A field waits for the next event, which carries it in its `extra`. If a second value comes while the first one still
    waits, the waiting fields get an event of their own.
    """

    def __init__(self, budget: Budget, clean: Callable[[Any], Any]) -> None:
        """`clean` removes our keys from a value."""
        self._budget = budget
        self._clean = clean
        self._seen: dict[str, Any] = {}
        self._pending: dict[str, Any] = {}
        self._displaced: list[dict[str, Any]] = []
        #: A piece of the answer itself is pending, such as sound: it must not wait for text.
        self.urgent = False

    def add(self, path: str, fields: dict[str, Any], known: frozenset[str]) -> None:
        """Adds the fields of a chunk or a choice that are not `known` and have a new value."""
        for name, value in fields.items():
            # Azure's chunks about its filters have an empty id, model and so on.
            if name in known or value is None or value == "":
                continue
            place = path + name
            seen = self._seen.get(place)
            if seen == value and type(seen) is type(value) and name not in _PIECES:
                continue
            if seen and name in _FIRST_ONLY:
                continue
            self._put(place, value)

    def add_delta(self, path: str, fields: dict[str, Any], known: frozenset[str], *, alone: bool) -> None:
        """Adds the fields of a delta that are not `known`.

        `alone`: the delta says nothing else. Then the same list or object again is another one.
        """
        for name, value in fields.items():
            if name in known or value is None or value in ("", [], {}):
                continue
            place = path + name
            seen = self._seen.get(place)
            again = name in _PIECES or (alone and isinstance(value, dict | list))
            if again or not (seen == value and type(seen) is type(value)):
                self.add_piece(place, value)

    def add_piece(self, place: str, value: Any) -> None:
        """Adds a piece of the answer itself."""
        self.urgent = True
        self._put(place, value)

    def attach_to(self, events: list[NewEvent]) -> None:
        """Gives the pending fields to a chunk's events. An urgent field without an event gets an event of its own."""
        if self._displaced:
            events[:0] = [_event(fields) for fields in self._displaced]
            self._displaced = []
        if not self._pending:
            return
        carriers = [event for event in events if "extra" not in event.fields]
        if carriers:
            carriers[0].fields["extra"] = self.take()
        elif self.urgent:
            events.append(_event(self.take()))

    def take(self) -> dict[str, Any]:
        """Returns all pending fields, which are then no longer pending."""
        taken, self._pending, self.urgent = self._pending, {}, False
        return taken

    def _put(self, place: str, value: Any) -> None:
        # Uncleaned, to be compared with the next value.
        self._seen[place] = value
        if not self._budget.add_field(place, value, len(self._seen)):
            return
        place, value = self._clean(place), self._clean(value)
        if self._pending.get(place):
            self._displaced.append(self.take())
        self._pending[place] = value


def _event(fields: dict[str, Any]) -> NewEvent:
    return NewEvent("content", {"content": "", "extra": fields})
