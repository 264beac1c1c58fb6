"""The native protocol: every event with its number, type and data (docs/protocol.md)."""

from __future__ import annotations

from readalong.events import Event
from readalong.sse import frame


def native(event: Event) -> bytes:
    """`id:` is the number and the epoch, `event:` the type, `data:` the data with the type in it again."""
    return frame(event.typed(), event=event.type, id=event.id)
