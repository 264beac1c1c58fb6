"""What a wire format is."""

from __future__ import annotations

from copy import deepcopy
from typing import Protocol

from readalong.core.events import Event
from readalong.core.position import Position


class Format(Protocol):
    """Turns the events of one log into the bytes of a stream.

    The fan-out encodes each event once a process and hands the same bytes to all watchers at a position. So the bytes
    of an event may depend on the events before it, never on the client, the process or the time. Events with equal
    fields have equal bytes, however their JSON was written.

    A format is a value: it can be hashed, and watchers whose formats are equal get the same bytes. The fan-out looks a
    format up once for each watcher, not for each event.

    **Without state** an event's bytes depend on that event alone. Neighbouring text may come merged, and `encode` is
    called in any order.

    **With state** a format may number its frames, and open and close parts. The fan-out copies the object that a route
    names (`copy.deepcopy`) and calls only the copies, which see each event of the log once, in order:

    - Each event is encoded by itself, so that the bytes after a position are the same for all watchers.
    - A merged event (`Event.chunk_lengths`) comes only where the bytes are thrown away, to bring a copy to a position.
      It must leave the same state as its chunks, one after the other.
    - `restarted` is an event of the log like any other: the state goes on, and the format closes what is open.
    - After `log_lost` copies start again from the log that Redis has now. Watchers that are told get `restarted` in
      place of the event that began the present attempt: it is encoded with the state before that event, and the stream
      goes on with the state after that event.
    - An event with the number `UNNUMBERED` is not in the log. It is encoded with the first state.
    """

    @property
    def stateful(self) -> bool:
        """Whether the bytes of an event depend on the events before it."""
        ...

    def start(self, joined: Position | None) -> bytes:
        """Returns the bytes before the first event of each response, without effect on the state. `joined` is the
        position at which a client began that wants only new events; None for a client that named its position."""
        ...

    def encode(self, event: Event) -> bytes:
        """Returns the bytes of an event; b"" for an event that the format does not show."""
        ...

    def end(self) -> bytes:
        """Returns the bytes behind the terminal event."""
        ...


def fresh(wire: Format) -> Format:
    """Returns the format in its first state."""
    return deepcopy(wire) if wire.stateful else wire


class Cut(Protocol):
    """Decides what one client gets of a format's frames, such as those after a position inside a frame.

    One object serves one client. The format itself never depends on the client. A watcher asks for each event whether
    the cut has to see it, so the answer is two fields and no call.
    """

    @property
    def done(self) -> bool:
        """Whether it changes nothing from now on. The watcher then drops it."""
        ...

    @property
    def marker(self) -> bytes:
        """What the frames hold that it has to see; b"" for all frames."""
        ...

    def cut(self, frames: bytes) -> tuple[bytes, bool]:
        """Returns what the client gets of the next bytes, and whether its stream ends with them.

        `frames` are whole frames in order, the bytes of `Format.end()`, or a comment. A cut that changes nothing
        returns the same object.
        """
        ...
