"""Fields of a model's chunks that no event type names: each is told once, in order (pure)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from readalong.core.events import NewEvent
from readalong.worker.model.limits import Budget

#: Fields of a chunk that are kept as they first came; some servers count them up.
_FIRST_ONLY: Final = frozenset({"id", "object", "created"})
#: Fields that are pieces of something longer, so that the same value again says something new.
_PIECES: Final = frozenset({"audio", "token_ids"})


class ExtraFields:
    """Fields wait for the next event, which carries them in its `extra`. A second value of a field that still waits
    makes the first ones leave in an event of their own."""

    def __init__(self, budget: Budget, clean: Callable[[Any], Any]) -> None:
        """`clean` takes our keys out of a value."""
        self._budget = budget
        self._clean = clean
        self._seen: dict[str, Any] = {}
        self._waiting: dict[str, Any] = {}
        self._overtaken: list[dict[str, Any]] = []
        #: Whether a piece of the answer itself waits, such as of its sound: it is not to wait for text.
        self.urgent = False

    def keep(self, path: str, fields: dict[str, Any], known: frozenset[str]) -> None:
        """Notes the fields of a chunk, or of a choice, that are not `known` and that are new."""
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

    def keep_said(self, path: str, fields: dict[str, Any], known: frozenset[str], *, alone: bool) -> None:
        """Notes the fields of a delta that are not `known`. `alone`: it says nothing else, so they are what it is for,
        and the same list or object again is another one."""
        for name, value in fields.items():
            if name in known or value is None or value in ("", [], {}):
                continue
            place = path + name
            seen = self._seen.get(place)
            again = name in _PIECES or (alone and isinstance(value, dict | list))
            if again or not (seen == value and type(seen) is type(value)):
                self.put(place, value)

    def put(self, place: str, value: Any) -> None:
        """Notes a piece of the answer."""
        self.urgent = True
        self._put(place, value)

    def join(self, drafts: list[NewEvent]) -> None:
        """Gives what waits to a chunk's events. What must not wait, with no event to join, makes one."""
        if self._overtaken:
            drafts[:0] = [_event(fields) for fields in self._overtaken]
            self._overtaken = []
        if not self._waiting:
            return
        said = [draft for draft in drafts if "extra" not in draft.fields]
        if said:
            said[0].fields["extra"] = self.take()
        elif self.urgent:
            drafts.append(_event(self.take()))

    def take(self) -> dict[str, Any]:
        """All that waits."""
        taken, self._waiting, self.urgent = self._waiting, {}, False
        return taken

    def _put(self, place: str, value: Any) -> None:
        # As it came, to be compared with the next one.
        self._seen[place] = value
        if not self._budget.field(place, value, len(self._seen)):
            return
        place, value = self._clean(place), self._clean(value)
        if self._waiting.get(place):
            self._overtaken.append(self.take())
        self._waiting[place] = value


def _event(fields: dict[str, Any]) -> NewEvent:
    return NewEvent("content", {"content": "", "extra": fields})
