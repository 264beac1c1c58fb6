"""Durable Streams: a job's log as a stream of JSON messages, one an event, and its offsets."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

import orjson

from readalong.core.events import TOOLS, UNNUMBERED, Event
from readalong.core.position import Position

#: Digits of a number, so that offsets sort as text. Of two logs of the same number the epoch tells which one it is.
_DIGITS: Final = 16
#: How a control event begins, and nothing else: a line of data begins with a list.
_CONTROL: Final = b'data:{"streamNextOffset":"'
#: A control event that does not close the stream, without its end.
_OPEN: Final = re.compile(rb'^(data:\{"streamNextOffset":"[^"]*")\}$', re.MULTILINE)
#: In place of what the log has lost: the client's next read says so.
_LOST: Final = b": lost\n\n"
#: Seconds since the epoch of the first cursor, and seconds of one.
_FIRST_CURSOR: Final = 1_728_432_000
CURSOR_SECONDS: Final = 20
#: Seconds after which a stream of events ends, so that caches can join clients.
LIFE: Final = 60.0


def offset_of(position: Position) -> str:
    number = f"{position.seq:0{_DIGITS}d}"
    return f"{number}-{position.epoch}" if position.epoch else number


def message(event: Event) -> bytes:
    """Returns an event that is not merged as a message: its data with number and type. A call's own id is `call_id`."""
    data = event.data
    if event.type in TOOLS and "id" in (fields := event.fields()):
        fields["call_id"] = fields.pop("id")
        data = orjson.dumps(fields)
    return b'{"id":%d,"type":"%b",%b' % (event.seq, event.type.encode(), data[1:])


def control(offset: str, cursor: str, *, up_to_date: bool, closed: bool) -> bytes:
    """Returns a control event."""
    said: dict[str, str | bool] = {"streamNextOffset": offset}
    said |= {"streamClosed": True} if closed else {"streamCursor": cursor}
    if up_to_date:
        said["upToDate"] = True
    return b"event: control\ndata:%b\n\n" % orjson.dumps(said)


def cursor_after(given: str | None, jitter: int) -> str:
    """Returns the cursor of now; if the client has that or a later one, one that is later by `jitter`."""
    now = int(time.time() - _FIRST_CURSOR) // CURSOR_SECONDS
    known = int(given) if given and given.isascii() and given.isdigit() and len(given) <= _DIGITS else -1
    return str(now if known < now else known + jitter)


class DurableStream:
    """`event: data` with a list of one message, and `event: control` with the offset after it. What a control event
    tells of the time and of the client, `Controls` adds."""

    stateful = False

    def start(self, joined: Position | None) -> bytes:
        return b""

    def encode(self, event: Event) -> bytes:
        if event.seq == UNNUMBERED:
            return b""
        if event.type == "restarted" and event.fields().get("reason") == "log_lost":
            return _LOST
        frames = []
        for each in event.expand():
            offset, closed = offset_of(Position(each.seq, each.epoch)).encode(), b',"streamClosed":true' * each.terminal
            frames.append(
                b'event: data\ndata:[%b]\n\nevent: control\n%b%b"%b}\n\n' % (message(each), _CONTROL, offset, closed)
            )
        return b"".join(frames)

    def end(self) -> bytes:
        return b""


durable_stream: Final = DurableStream()


class Controls:
    """The cut that adds the cursor, and to the last control event whether the client has all there is."""

    done: Final = False
    marker: Final = b""

    def __init__(self, cursor: str, newest: Callable[[], int]) -> None:
        """`newest()`: the number of the log's newest event."""
        self._more = rb'\1,"streamCursor":"%b"}' % cursor.encode()
        self._newest = newest
        self._until = time.monotonic() + LIFE

    def cut(self, frames: bytes) -> tuple[bytes, bool]:
        """See `Cut.cut`."""
        ends = time.monotonic() >= self._until
        if frames == _LOST:
            return b"", True
        if not frames or frames.startswith(b":"):
            return frames, ends
        told = _OPEN.sub(self._more, frames)
        begin = told.rindex(_CONTROL) + len(_CONTROL)
        if told.endswith(b'"}\n\n') and int(told[begin : begin + _DIGITS]) >= self._newest():
            told = told[:-3] + b',"upToDate":true}\n\n'
        return told, ends
