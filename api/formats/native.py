"""The native protocol: every event with its number, type and data (docs/protocol.md)."""

from __future__ import annotations

from readalong.events import Event


def native(event: Event) -> bytes:
    """`id:` is the number and the epoch, `event:` the type, `data:` the data with the type in it again."""
    seq, kind, data, _, epoch = event
    name = f"{seq}-{epoch}" if epoch else seq
    # In one go, and not by `frame`: each token of each job comes through here.
    return f'id: {name}\nevent: {kind}\ndata: {{"type":"{kind}",'.encode() + data[1:] + b"\n\n"
