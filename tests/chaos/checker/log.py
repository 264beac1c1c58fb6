"""A job's log as it was appended; the stored log may be compacted (docs/redis.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

TERMINAL: Final = frozenset({"done", "failed", "cancelled"})
TEXT: Final = frozenset({"content", "reasoning", "refusal"})
VOIDS: Final = frozenset({"started", "restarted"})

#: No entry of a compacted log covers numbers on both sides of a multiple of this.
_SPAN: Final = 1024

#: An entry's id and its fields.
Entry = Sequence[Any]


class Broken(Exception):
    """An entry that violates docs/redis.md. `rule`: "gap", "order" or "log-form"; `place`: its index."""

    def __init__(self, rule: str, says: str, place: int) -> None:
        super().__init__(says)
        self.rule, self.says, self.place = rule, says, place


class Event(NamedTuple):
    """An event as its writer appended it; `place` is the index of its entry."""

    id: int
    type: str
    data: str
    place: int

    @property
    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self.data)
        return fields

    @property
    def typed(self) -> str:
        """The text that a client reads after `data:`."""
        return f'{{"type":"{self.type}",{self.data[1:]}'


def decompact(entries: Sequence[Entry]) -> list[Event]:
    """Returns the events of a log's entries, numbered 1, 2, 3, … Raises Broken at the first entry out of sequence."""
    events: list[Event] = []
    for place, (entry_id, row) in enumerate(entries):
        number = _number(entry_id, place)
        lengths = _lengths(row, place)
        first = number - len(lengths or [0]) + 1
        if first != len(events) + 1:
            rule = "gap" if first > len(events) + 1 else "order"
            raise Broken(rule, f"the log's entry {entry_id} does not follow event {len(events)}", place)
        if lengths is None:
            events.append(Event(number, row["type"], row["data"], place))
            continue
        if (first - 1) // _SPAN != (number - 1) // _SPAN:
            raise Broken("log-form", f"the log's entry {entry_id} crosses a multiple of {_SPAN}", place)
        fields = _fields(row, entries[-1][1], sum(lengths), place)
        if row["type"] not in TEXT or not fields.keys() <= {"content", "choice"}:
            raise Broken("log-form", f"the log's entry {entry_id} merges what does not merge", place)
        whole, start = fields["content"], 0
        if len(whole) != sum(lengths):
            raise Broken("log-form", f"the pieces of the log's entry {entry_id} are not its text", place)
        for piece, length in enumerate(lengths, first):
            data = _encoded({**fields, "content": whole[start : start + length]})
            events.append(Event(piece, row["type"], data, place))
            start += length
    return events


def epochs_of(log: Sequence[Event]) -> list[str]:
    """Returns the epoch of each event: the first event of each epoch names it."""
    found: list[str] = []
    epoch = ""
    for event in log:
        if event.type in VOIDS or (event.type in TERMINAL and '"epoch":' in event.data):
            epoch = event.fields.get("epoch", epoch if event.type in TERMINAL else "")
        found.append(epoch)
    return found


def joined(events: Sequence[Event]) -> dict[str, Any] | None:
    """Returns the parsed data of one event that covers these; None if no event may cover them."""
    said = [event.fields for event in events]
    if len(events) > 1:
        for event, fields in zip(events, said, strict=True):
            alike = event.type == events[0].type and fields.get("choice") == said[0].get("choice")
            if not alike or event.type not in TEXT or not fields.keys() <= {"content", "choice"}:
                return None
        said[0]["content"] = "".join(fields["content"] for fields in said)
    return {"type": events[0].type, **said[0]}


def _number(entry_id: str, place: int) -> int:
    number, dash, rest = entry_id.partition("-")
    if not (number.isdigit() and dash and rest == "0"):
        raise Broken("log-form", f"the log has an entry {entry_id!r}", place)
    return int(number)


def _lengths(row: Mapping[str, str], place: int) -> list[int] | None:
    if "pieces" not in row:
        return None
    try:
        return [int(length) for length in row["pieces"].split(",")]
    except ValueError:
        raise Broken("log-form", f"pieces are {row['pieces']!r}", place) from None


def _fields(row: Mapping[str, str], last: Mapping[str, str], length: int, place: int) -> dict[str, Any]:
    """Returns the data of a merged entry, taken from the log's last one if the entry says so."""
    fields: dict[str, Any] = json.loads(row["data"])
    if "from" not in row:
        return fields
    whole = json.loads(last["data"]).get("content")
    if fields or last["type"] not in TERMINAL or not isinstance(whole, str):
        raise Broken("log-form", "an entry takes its text from an end that has none", place)
    start = int(row["from"])
    return {"content": whole[start : start + length]}


def _encoded(fields: Mapping[str, Any]) -> str:
    """Encodes JSON as the writers do: without spaces, and with the fewest escapes."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
