"""What a job's log holds.

A `NewEvent` is an event that has no number yet; an `Event` is one line of the log. An event's data is a JSON
object, kept as bytes from the worker to the watcher, so that it is encoded once and all watchers get the same bytes.

Neighbouring pieces of text may be stored and sent merged: one event with the number of the last that it covers. In
the log it also holds the length of each piece, so that it can be taken apart again at any position.

On the job's live channel an append is one message: a JSON line for each event, `{"seq":5,"type":"content",…}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import orjson

from readalong.core.states import TERMINAL

#: The version of what the log and the job's hash hold.
SCHEMA: Final = 1

#: The field of items that no message and no event type can say, such as a model's encrypted reasoning: in `extra`, and
#: in the message behind them. Only a model that is asked by the Responses API gets it.
ITEMS: Final = "response_items"

TEXT: Final = frozenset({"content", "reasoning", "refusal"})
TOOLS: Final = frozenset({"tool_call_delta", "tool_call", "function_call"})
TYPES: Final = TERMINAL | TEXT | TOOLS | {"queued", "started", "restarted", "waiting"}

#: The number of an event that is not in the log: what an API tells its watchers itself.
UNNUMBERED: Final = 0

#: No merged event covers numbers on both sides of a multiple of this: a reader that takes such steps reads whole
#: events, however the log is stored.
PAGE_SIZE: Final = 1024
#: Bytes of text, as JSON, that one merged event of the log holds at most, unless a single piece is longer.
_LONGEST: Final = 65_536
#: Bytes of a piece's data that are not its text.
_FRAME: Final = len(b'{"content":""}')

#: What readers get in front of an event's fields: on the live channel both.
_IN_FRONT: Final = frozenset({"seq", "type"})
#: A text event merges with its neighbour only if it says nothing besides these, such as log probabilities.
_MERGEABLE: Final = frozenset({"content", "choice"})


class NewEvent(NamedTuple):
    """An event on its way to the log: a type of `TYPES` and the fields of its data."""

    type: str
    fields: dict[str, Any]

    def encode(self) -> bytes:
        """Returns the data as one line of JSON. Raises ValueError for a field with the name of one that readers get in
        front of it."""
        if self.type not in TEXT and (taken := _IN_FRONT & self.fields.keys()):
            # JSON readers take the last of two: a client would see another type of event.
            raise ValueError(f"an event {self.type} with a field `{min(taken)}`")
        return orjson.dumps(self.fields)


class Event(NamedTuple):
    """An event of the log: its number (1, 2, 3, …), its type, and its data, a JSON object without the type.

    `pieces`: the lengths in characters of the pieces of text that a merged one covers, up to number `seq`.
    `epoch` names the claim that wrote it, for a reader that knows (`Epochs`).
    """

    seq: int
    type: str
    data: bytes
    chunk_lengths: tuple[int, ...] = ()
    epoch: str = ""

    @property
    def after(self) -> int:
        """The position that it follows."""
        return self.seq - (len(self.chunk_lengths) or 1)

    @property
    def terminal(self) -> bool:
        return self.type in TERMINAL

    @property
    def size(self) -> int:
        """Bytes of its text as JSON; of an event that is none, about those of its data."""
        return len(self.data) - _FRAME

    def fields(self) -> dict[str, Any]:
        """Returns the data, parsed."""
        fields: dict[str, Any] = orjson.loads(self.data)
        return fields

    def since(self, position: int) -> Event:
        """Returns the part that follows `position`, which is less than its number."""
        skip = position - self.after
        if skip <= 0:
            return self
        fields = self.fields()
        fields["content"] = fields["content"][sum(self.chunk_lengths[:skip]) :]
        left = self.chunk_lengths[skip:]
        return Event(self.seq, self.type, orjson.dumps(fields), left if len(left) > 1 else (), self.epoch)

    def expand(self) -> list[Event]:
        """Returns its pieces, each with its own number and the bytes that it came with."""
        if not self.chunk_lengths:
            return [self]
        fields = self.fields()
        text: str = fields["content"]
        events, start = [], 0
        for seq, length in enumerate(self.chunk_lengths, self.after + 1):
            fields["content"] = text[start : start + length]
            events.append(Event(seq, self.type, orjson.dumps(fields), (), self.epoch))
            start += length
        return events

    def data_with_type(self) -> bytes:
        """Returns the data with its type in front, for readers who see only the data."""
        return b'{"type":"%s",%s' % (self.type.encode(), self.data[1:])


def parse_live(message: bytes, epoch: str = "") -> list[Event]:
    """Returns the events of one message of a live channel, without parsing their data, as of this epoch.

    Raises ValueError for a message that `parts/job.lua` did not write.
    """
    events = []
    for line in message.split(b"\n"):
        if not line.startswith(b'{"seq":'):
            raise ValueError(f"not an event of a live channel: {line[:80]!r}")
        comma = line.index(b",")
        quote = line.index(b'"', comma + 9)
        data = b"{" + line[quote + 2 :]
        events.append(Event(int(line[7:comma]), line[comma + 9 : quote].decode(), data, (), epoch))
    return events


def merge_key(kind: str, fields: dict[str, Any]) -> tuple[str, Any] | None:
    """Who says this: neighbours with the same voice merge. None for an event that merges with nothing."""
    if kind not in TEXT or not fields.keys() <= _MERGEABLE or not isinstance(fields.get("content"), str):
        return None
    return kind, fields.get("choice")


def merge_drafts(drafts: list[NewEvent]) -> list[NewEvent]:
    """Joins neighbouring pieces of text of one kind and choice; all else stays as it is, in order."""
    if len(drafts) < 2:
        return drafts
    merged: list[NewEvent] = []
    texts: list[str] = []  # of the newest in `merged`, joined once at its end: += would be quadratic
    speaks = None
    for draft in drafts:
        its = merge_key(draft.type, draft.fields)
        if its is not None and its == speaks:
            texts.append(draft.fields["content"])
            continue
        _close(merged, texts)
        merged.append(draft)
        texts = [] if its is None else [draft.fields["content"]]
        speaks = its
    _close(merged, texts)
    return merged


def merge(events: Iterable[Event]) -> Iterator[Event]:
    """The same history in fewer events, none of them longer than a reader of the log may expect (`PAGE_SIZE`)."""
    first: Event | None = None  # of those that become one
    fields: dict[str, Any] = {}  # the first's
    speaks = None
    texts: list[str] = []
    pieces: list[int] = []
    size = 0
    for event in events:
        said: dict[str, Any] = orjson.loads(event.data) if event.type in TEXT else {}
        its = merge_key(event.type, said)
        size += len(event.data) - _FRAME
        if first is None or its is None or its != speaks or size > _LONGEST or event.after % PAGE_SIZE == 0:
            if first is not None:
                yield _merged(first, fields, texts, pieces)
            first, fields, speaks = event, said, its
            texts, pieces, size = [], [], len(event.data) - _FRAME
        if its is not None:
            text = said["content"]
            texts.append(text)
            if event.chunk_lengths:
                pieces += event.chunk_lengths
            else:
                pieces.append(len(text))
    if first is not None:
        yield _merged(first, fields, texts, pieces)


def _merged(first: Event, fields: dict[str, Any], texts: list[str], pieces: list[int]) -> Event:
    if len(texts) < 2:
        return first
    data = orjson.dumps({**fields, "content": "".join(texts)})
    return Event(first.after + len(pieces), first.type, data, tuple(pieces), first.epoch)


def _close(merged: list[NewEvent], texts: list[str]) -> None:
    if len(texts) > 1:
        merged[-1] = NewEvent(merged[-1].type, {**merged[-1].fields, "content": "".join(texts)})
