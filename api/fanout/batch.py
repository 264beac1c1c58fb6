"""Bytes for the watchers at one position."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

#: What one write to a client may hold, about, in bytes: a client that stops reading costs this and a socket's buffer.
WRITE: Final = 65_536
#: Bytes beyond which a batch is written in pieces. A batch without a long event is seldom that large.
LARGE: Final = 2 * WRITE


@dataclass(frozen=True)
class Batch:
    """Bytes for a watcher, and its position after them. `last` is set with the terminal event."""

    frames: bytes
    position: int
    last: bool

    @cached_property
    def chunk(self) -> bytes:
        """The frames as a chunk of an HTTP/1.1 body (RFC 9112, section 7.1), made once for all watchers."""
        return b"%x\r\n%b\r\n" % (len(self.frames), self.frames)

    @cached_property
    def _found(self) -> dict[bytes, bool]:
        return {}

    def holds(self, text: bytes) -> bool:
        """Returns whether the frames hold a text, looked for once for all watchers: a search in a short text costs as
        much as half of what else a watcher does for a token."""
        found = self._found.get(text)
        if found is None:
            found = self._found[text] = text in self.frames
        return found

    @cached_property
    def pieces(self) -> tuple[bytes | memoryview, ...]:
        """The frames, a write each, cut once for all watchers."""
        view = memoryview(self.frames)
        cut = [view[start : start + WRITE] for start in range(0, len(view), WRITE)]
        # The last pieces may wait for a client. They are copies, lest they keep the whole in memory.
        return (*cut[:-2], *map(bytes, cut[-2:]))
