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
    """The newest batches by the position that they follow. A plain `get` is all that a delivery costs.

    A large batch is also found for as long as it is being written to a client: a thousand clients that read slowly, or
    not at all, share one copy.
    """

    __slots__ = ("_bytes", "_large", "_live")

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0
        #: Positions whose batches may become too short with the next event.
        self._live: set[int] = set()
        self._large: WeakValueDictionary[int, Batch] = WeakValueDictionary()

    def find(self, after: int) -> Batch | None:
        """Returns the batch for this position, also a large one that is only known while it is being written."""
        found = self.get(after)
        return self._large.get(after) if found is None else found

    def put(self, after: int, batch: Batch, *, live: bool) -> Batch:
        """Keeps a batch and returns it; a live one until the next event."""
        self[after] = batch
        self._bytes += _cost(batch)
        if live:
            self._live.add(after)
        if len(batch.frames) > LARGE:
            self._large[after] = batch
        while self._bytes > _MAX_BYTES and len(self) > 1:
            self._drop(next(iter(self)))
        return batch

    def drop_live(self) -> None:
        """Forgets the live batches: the log has grown. A large one is still found, as the same bytes for all."""
        for after in tuple(self._live):
            self._drop(after)

    def forget(self, after: int) -> None:
        """Forgets the batch for this position, however large."""
        self._large.pop(after, None)
        if after in self:
            self._drop(after)

    def _drop(self, after: int) -> None:
        self._bytes -= _cost(self.pop(after))
        self._live.discard(after)


def _cost(batch: Batch) -> int:
    """Bytes of memory: the frames, and those that are not large once more, as a chunk."""
    size = len(batch.frames)
    return (size if size > LARGE else 2 * size) + _OVERHEAD
