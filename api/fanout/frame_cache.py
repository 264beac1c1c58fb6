"""Batches of one format of one log, so that the watchers at a position get one bytes object."""

from __future__ import annotations

from typing import Final
from weakref import WeakValueDictionary

from readalong.api.fanout.batch import LARGE, Batch

#: Bytes of memory that the batches take, unless one batch alone is larger: watchers at many positions must not fill
#: the memory with theirs.
_MAX_BYTES: Final = 524_288
#: Bytes that a batch costs besides its frames.
_OVERHEAD: Final = 180


class FrameCache(dict[int, Batch]):
    """Live batches by the position that they follow: a plain `get` is all that a delivery costs. The first batch that
    is made after a new event replaces them, because they may be too short by then. Batches of history stay.

    A large batch is also found for as long as it is being written to a client: a thousand clients that read slowly, or
    not at all, share one copy.
    """

    __slots__ = ("_bytes", "_history", "_history_bytes", "_large", "_newest")

    def __init__(self) -> None:
        super().__init__()
        #: The newest event when the live batches were made, and their cost.
        self._newest = 0
        self._bytes = 0
        self._history: dict[int, Batch] = {}
        self._history_bytes = 0
        #: None until there is one: to look into it costs as much as to encode a token.
        self._large: WeakValueDictionary[int, Batch] | None = None

    def find(self, after: int) -> Batch | None:
        """Returns the batch of history for this position, or a large one that is still being written."""
        found = self._history.get(after)
        return found if found is not None or self._large is None else self._large.get(after)

    def put(self, after: int, batch: Batch, newest: int) -> None:
        """Takes in a live batch, made when `newest` is the newest event."""
        if newest != self._newest:
            self.clear()
            self._newest, self._bytes = newest, 0
        self[after] = batch
        self._bytes += _cost(batch)
        if len(batch.frames) > LARGE:
            self._remember(after, batch)
        while self._bytes > _MAX_BYTES and len(self) > 1:
            self._bytes -= _cost(self.pop(next(iter(self))))

    def put_history(self, after: int, batch: Batch) -> Batch:
        """Takes in a batch that stays as it is, and returns it."""
        self._history[after] = batch
        self._history_bytes += _cost(batch)
        if len(batch.frames) > LARGE:
            self._remember(after, batch)
        while self._history_bytes > _MAX_BYTES and len(self._history) > 1:
            self._history_bytes -= _cost(self._history.pop(next(iter(self._history))))
        return batch

    def forget(self, after: int) -> None:
        """Forgets the batch of history for this position, however large."""
        if self._large is not None:
            self._large.pop(after, None)
        if (batch := self._history.pop(after, None)) is not None:
            self._history_bytes -= _cost(batch)

    def _remember(self, after: int, batch: Batch) -> None:
        if self._large is None:
            self._large = WeakValueDictionary()
        self._large[after] = batch


def _cost(batch: Batch) -> int:
    """Returns bytes of memory: the frames, and those that are not large once more, as a chunk."""
    size = len(batch.frames)
    return (size if size > LARGE else 2 * size) + _OVERHEAD
