"""A wire format with state, like the formats of chat front ends: it numbers its frames, and opens and closes parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson

from readalong.api.wire.format import Format, fresh
from readalong.core.events import TEXT, UNNUMBERED, Event
from readalong.core.position import Position
from readalong.core.sse import frame


class Parts:
    """A part is open while one kind of text goes on; a frame tells its number and its part's, never the client's."""

    stateful = True

    def __init__(self) -> None:
        self.frames = 0
        self.parts = 0
        self.open = ""
        #: How many events were encoded, for tests that count the work.
        self.encoded = 0

    def start(self, joined: Position | None) -> bytes:
        return b": parts\n\n" if joined is None else b": parts from %s\n\n" % str(joined).encode()

    def encode(self, event: Event) -> bytes:
        if event.seq == UNNUMBERED:
            return b": waiting\n\n"
        self.encoded += 1
        part = event.type if event.type in TEXT else ""
        shown = b""
        if self.open not in ("", part):
            shown += self._frame(event, "close")
        if part and part != self.open:
            self.parts += 1
            shown += self._frame(event, "open")
        self.open = part
        shown += self._frame(event, event.type)
        self.frames += max(len(event.chunk_lengths) - 1, 0)
        return shown

    def end(self) -> bytes:
        return b"data: [DONE]\n\n"

    def _frame(self, event: Event, kind: str) -> bytes:
        self.frames += 1
        fields = event.fields()
        data = {"kind": kind, "frame": self.frames, "part": self.parts, "text": fields.get("content")}
        return frame(orjson.dumps(data), id=str(Position(event.seq, event.epoch)))


def frames_of(wire: Format, log: Iterable[Event]) -> list[bytes]:
    """Returns the frames of a stream, one for each number of a log, by an encoder that sees each event as it was
    appended."""
    encoder = fresh(wire)
    return [
        encoder.encode(chunk) + (encoder.end() if chunk.terminal else b"") for event in log for chunk in event.expand()
    ]


def state_of(wire: Format, log: Sequence[Event]) -> dict[str, object]:
    """Returns the fields of an encoder after these events, but for the number of calls."""
    encoder = fresh(wire)
    for event in log:
        encoder.encode(event)
    return {name: value for name, value in vars(encoder).items() if name != "encoded"}
