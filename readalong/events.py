"""What a job's log holds.

A `Draft` is an event that has no number yet; an `Event` is one line of the log. An event's data is a JSON
object, kept as bytes from the worker to the watcher, so that it is encoded once and everybody sees the same bytes.

On the job's live channel an append is one message: a JSON line for each event, `{"id":5,"type":"content",…}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import orjson

#: The version of what the log and the job's hash hold.
SCHEMA: Final = 1

TERMINAL: Final = frozenset({"done", "failed", "cancelled"})
TEXT: Final = frozenset({"content", "reasoning", "refusal"})
TOOLS: Final = frozenset({"tool_call_delta", "tool_call", "function_call"})
TYPES: Final = TERMINAL | TEXT | TOOLS | {"queued", "started", "restarted"}

#: A text event merges with its neighbour only if it says nothing besides these, such as log probabilities.
_MERGEABLE: Final = frozenset({"content", "choice"})


class Draft(NamedTuple):
    """An event on its way to the log: a type of `TYPES` and the fields of its data."""

    type: str
    fields: dict[str, Any]

    def encode(self) -> bytes:
        """The data as one line of JSON."""
        return orjson.dumps(self.fields)


class Event(NamedTuple):
    """An event of the log: its number (1, 2, 3, …), its type, and its data, a JSON object without the type."""

    seq: int
    type: str
    data: bytes

    @property
    def terminal(self) -> bool:
        return self.type in TERMINAL

    def fields(self) -> dict[str, Any]:
        """The data, parsed."""
        fields: dict[str, Any] = orjson.loads(self.data)
        return fields

    def typed(self) -> bytes:
        """The data with its type in front, for readers who see only the data."""
        return b'{"type":"%s",%s' % (self.type.encode(), self.data[1:])


def parse_live(message: bytes) -> list[Event]:
    """The events of one message of a live channel, without parsing their data.

    Raises ValueError for a message that `lib.lua` did not write.
    """
    events = []
    for line in message.split(b"\n"):
        if not line.startswith(b'{"id":'):
            raise ValueError(f"not an event of a live channel: {line[:80]!r}")
        comma = line.index(b",")
        quote = line.index(b'"', comma + 9)
        events.append(Event(int(line[6:comma]), line[comma + 9 : quote].decode(), b"{" + line[quote + 2 :]))
    return events


def merge_drafts(drafts: list[Draft]) -> list[Draft]:
    """Joins neighbouring pieces of text of one kind and choice; all else stays as it is, in order."""
    if len(drafts) < 2:
        return drafts
    merged: list[Draft] = []
    texts: list[str] = []  # of the newest in `merged`, joined once at its end: += would be quadratic
    for draft in drafts:
        if merged and _joins(merged[-1].type, merged[-1].fields, draft.type, draft.fields):
            texts.append(draft.fields["content"])
            continue
        _close(merged, texts)
        merged.append(draft)
        texts = [draft.fields["content"]] if draft.type in TEXT else []
    _close(merged, texts)
    return merged


def merge(events: Iterable[Event]) -> Iterator[Event]:
    """The same history in fewer events: each merged one has the number of the last that it covers."""
    run: list[Event] = []
    drafts: list[Draft] = []
    for event in events:
        draft = Draft(event.type, event.fields() if event.type in TEXT else {})
        if run and not _joins(drafts[0].type, drafts[0].fields, draft.type, draft.fields):
            yield _merged(run, drafts)
            run, drafts = [], []
        run.append(event)
        drafts.append(draft)
    if run:
        yield _merged(run, drafts)


def _merged(run: list[Event], drafts: list[Draft]) -> Event:
    if len(run) == 1:
        return run[0]
    return Event(run[-1].seq, run[0].type, merge_drafts(drafts)[0].encode())


def _joins(kind: str, fields: dict[str, Any], next_kind: str, next_fields: dict[str, Any]) -> bool:
    return (
        kind == next_kind
        and kind in TEXT
        and fields.keys() <= _MERGEABLE
        and next_fields.keys() <= _MERGEABLE
        and fields.get("choice") == next_fields.get("choice")
    )


def _close(merged: list[Draft], texts: list[str]) -> None:
    if len(texts) > 1:
        merged[-1] = Draft(merged[-1].type, {**merged[-1].fields, "content": "".join(texts)})
