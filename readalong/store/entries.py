"""Entries of a log's stream, and the events that they stand for (docs/redis.md, a compacted log)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from readalong.core.events import Event
from readalong.core.states import TERMINAL

#: An entry of a stream: its id and its fields.
Entry = tuple[bytes, dict[bytes, bytes]]

#: Bytes of a terminal event that other entries may take their text from.
_LONGEST_QUOTED: Final = 65_536


def parse_entries(entries: list[Any]) -> list[Entry]:
    """Returns a stream's entries, as redis-py gives them, or as Redis does, with flat fields."""
    if not entries or isinstance(entries[0][1], dict):
        return entries
    return [(entry_id, dict(zip(flat[::2], flat[1::2], strict=True))) for entry_id, flat in entries]


def ends(entry: Entry) -> bool:
    """Returns whether it is the terminal event."""
    return entry[1][b"type"].decode() in TERMINAL


def full_text(entry: Entry) -> str:
    """Returns the whole text that a terminal event says was said."""
    text: str = orjson.loads(entry[1][b"data"]).get("content", "")
    return text


def is_text_ref(entry: Entry) -> bool:
    """Returns whether it takes its text from the terminal event."""
    return b"from" in entry[1]


def event_of(entry: Entry, whole: str) -> Event:
    """Returns the event; `whole` is what the terminal event says was said, for one that `is_text_ref`."""
    entry_id, fields = entry
    data = fields[b"data"]
    pieces = tuple(map(int, fields[b"pieces"].split(b","))) if b"pieces" in fields else ()
    if is_text_ref(entry):
        start = int(fields[b"from"])
        data = orjson.dumps({"content": whole[start : start + sum(pieces)]})
    return Event(int(entry_id[:-2]), fields[b"type"].decode(), data, pieces)


def encode_entries(events: Sequence[Event]) -> Iterator[str | bytes | int]:
    """Number, type, data, pieces and `from` of each, as the script compact takes them.

    What the terminal event says is stored there alone, unless it is long: reading a part would mean reading all of it.
    """
    end = events[-1]
    whole = end.fields().get("content") if len(end.data) <= _LONGEST_QUOTED else None
    offset = 0
    for event in events:
        data, start = event.data, ""
        if whole is not None and event.type == "content":
            fields = event.fields()
            text = fields["content"]
            if event.chunk_lengths and fields.keys() == {"content"} and whole.startswith(text, offset):
                data, start = b"{}", str(offset)
            if not fields.get("choice"):
                offset += len(text)
        yield from (event.seq, event.type, data, ",".join(map(str, event.chunk_lengths)), start)
