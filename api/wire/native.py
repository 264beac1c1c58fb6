"""The native protocol: every event with its number, type and data (docs/protocol.md)."""

from __future__ import annotations

from typing import Final

from readalong.core.events import UNNUMBERED, Event
from readalong.core.position import Position


class Native:
    """`id:` is the number, if there is one, and the epoch; `event:` is the type; `data:` is the data with the type."""

    stateful = False

    def start(self, joined: Position | None) -> bytes:
        # An id without data is no event, but EventSource keeps it: it comes back to where it began.
        return b"" if joined is None else b"id: %s\n\n" % str(joined).encode()

    def encode(self, event: Event) -> bytes:
        seq, kind, data, _, epoch = event
        head = "" if seq == UNNUMBERED else f"id: {seq}-{epoch}\n" if epoch else f"id: {seq}\n"
        # In one go, and not by `frame`: each token of each job comes through here.
        return f'{head}event: {kind}\ndata: {{"type":"{kind}",'.encode() + data[1:] + b"\n\n"

    def end(self) -> bytes:
        return b""


native: Final = Native()
