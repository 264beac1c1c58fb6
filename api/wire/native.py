"""The native protocol: every event with its number, type and data (docs/protocol.md)."""

from __future__ import annotations

from readalong.core.events import UNNUMBERED, Event


def native(event: Event) -> bytes:
    """`id:` is the number, if it has one, and epoch, `event:` the type, `data:` the data with the type in it again."""
    seq, kind, data, _, epoch = event
    head = "" if seq == UNNUMBERED else f"id: {seq}-{epoch}\n" if epoch else f"id: {seq}\n"
    # In one go, and not by `frame`: each token of each job comes through here.
    return f'{head}event: {kind}\ndata: {{"type":"{kind}",'.encode() + data[1:] + b"\n\n"
