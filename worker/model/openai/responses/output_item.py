"""What has been said of each output item of a response, however its events name the item (pure)."""

from __future__ import annotations

from typing import Any, Final

from readalong.worker.model.chunks.text_pieces import TextPieces
from readalong.worker.model.limits import AnswerTooLarge

#: The types of calls, and the field of what they call with.
CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
#: Items and parts of one response: each takes memory that no other limit counts.
_MAX_PARTS: Final = 10_000


class OutputItem:
    """One item. Once it is done, it keeps no text."""

    __slots__ = ("_annotated", "_fields", "_texts", "done", "id", "number", "type")

    def __init__(self, item_id: str) -> None:
        self.id = item_id
        self.type = ""
        self.done = False
        #: The number of a call among the calls.
        self.number: int | None = None
        #: The pieces of each part, by its type and its place.
        self._texts: dict[tuple[str, int], TextPieces] = {}
        self._annotated: dict[int, int] = {}
        self._fields: dict[str, Any] = {}

    def has(self, kind: str, place: Any = None) -> bool:
        """Returns whether a part of this type was begun, at this place if one is given."""
        return any(each == kind and place in (None, at) for each, at in self._texts)

    def add(self, kind: str, place: Any, text: str) -> bool:
        """Adds a piece. Returns whether it begins a part."""
        begins = (key := (kind, _place(place))) not in self._texts
        self._texts.setdefault(key, TextPieces()).append(text)
        return begins

    def rest(self, kind: str, place: Any, whole: Any) -> str:
        """Returns what of a whole text has not been said."""
        if not isinstance(whole, str):
            return ""
        pieces = self._texts.get((kind, _place(place)))
        if pieces is None:
            return whole
        return whole[pieces.size() :] if pieces.is_prefix_of(whole) else ""

    def new_fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Returns the fields whose value is new, without the empty ones."""
        new = {
            name: value
            for name, value in fields.items()
            if value not in (None, "", [], {}) and self._fields.get(name) != value
        }
        self._fields |= new
        return new

    def annotations(self, place: Any) -> int:
        """Returns the number of annotations that a part has."""
        return self._annotated.get(_place(place), 0)

    def add_annotations(self, place: Any, count: int) -> None:
        self._annotated[_place(place)] = self.annotations(place) + count

    def finish(self) -> None:
        self.done = True
        self._texts.clear()
        self._annotated.clear()
        self._fields.clear()


class OutputItems:
    """The items of one response. Events name them by an id, which some servers change, or by an index."""

    def __init__(self) -> None:
        #: The number of calls.
        self.calls = 0
        self._by_id: dict[str, OutputItem] = {}
        self._by_index: dict[int, OutputItem] = {}
        self._parts = 0
        #: Events name neither id nor index of an item. They are about the last one.
        self.nameless = False
        self._last: OutputItem | None = None

    def of(self, event: dict[str, Any], *, begins: bool = False) -> OutputItem:
        """Returns the item that an event is about; a new one if there is none. `begins`: the event begins it."""
        item_id = _id(event)
        found = self._by_id.get(item_id) if begins else self._find(item_id, event)
        return found or self._new(item_id, event)

    def is_of(self, event: dict[str, Any], without: frozenset[str]) -> bool:
        """Returns whether an event is about an item of a type that is not one of these."""
        item = self._find(_id(event), event)
        return item is not None and bool(item.type) and item.type not in without

    def add_text(self, item: OutputItem, kind: str, place: Any, text: str) -> None:
        """Adds a piece to an item. Raises AnswerTooLarge."""
        if item.add(kind, place, text):
            self._count()

    def number(self, item: OutputItem) -> int:
        """Returns the number of a call."""
        if item.number is None:
            item.number = self.calls
            self.calls += 1
        return item.number

    def _find(self, item_id: str, event: dict[str, Any]) -> OutputItem | None:
        if item_id in self._by_id:
            return self._by_id[item_id]
        index = event.get("output_index")
        if index is not None:
            return self._by_index.get(_place(index))
        return None if item_id or self._last is None or self._last.done else self._last

    def _new(self, item_id: str, event: dict[str, Any]) -> OutputItem:
        self._count()
        item = OutputItem(item_id)
        if item_id:
            self._by_id[item_id] = item
        if event.get("output_index") is not None:
            self._by_index[_place(event["output_index"])] = item
        elif not item_id:
            self.nameless, self._last = True, item
        return item

    def _count(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise AnswerTooLarge(f"{_MAX_PARTS} items and parts")


def _id(event: dict[str, Any]) -> str:
    item = event.get("item")
    found = item.get("id") if isinstance(item, dict) else event.get("item_id")
    return found if isinstance(found, str) else ""


def _place(value: Any) -> int:
    return value if isinstance(value, int) else 0
