"""One client that does not get every frame of its format."""

from __future__ import annotations

from typing import Any

from readalong.api.fanout.batch import Batch
from readalong.api.fanout.watcher import Watcher
from readalong.api.http.detachable import DetachableConnection
from readalong.api.wire.format import Cut


class CutWatcher(Watcher):
    """Passes all bytes of its stream through a `Cut`."""

    __slots__ = ("_cut", "_farewell")

    def __init__(self, cut: Cut, *args: Any, epoch: str = "", farewell: bytes = b"") -> None:
        """`args`: the arguments of a Watcher. `farewell`: what the client gets if its stream is closed early."""
        super().__init__(*args, epoch=epoch)
        self._cut = cut
        self._farewell = farewell

    def _write_to(self, line: DetachableConnection, batch: Batch) -> None:
        Watcher._write_to(self, line, self._apply(batch))  # for each token: `super` would cost as much again

    async def _write_by_send(self, batch: Batch) -> None:
        await super()._write_by_send(self._apply(batch))

    def _apply(self, batch: Batch) -> Batch:
        if self._end and batch.last and not batch.frames:
            return Batch(self._farewell, batch.position, True)
        frames, ends = self._cut.cut(batch.frames)
        return batch if frames is batch.frames and not ends else Batch(frames, batch.position, ends or batch.last)
