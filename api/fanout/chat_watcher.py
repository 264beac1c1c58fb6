"""One client of `/chat/stream` that knows of no second text."""

from __future__ import annotations

from collections.abc import Callable

from readalong.api.fanout.feed import Feed
from readalong.api.fanout.text_runs import Batch
from readalong.api.fanout.watcher import Watcher
from readalong.api.http.detachable import DetachableConnection
from readalong.api.wire.chat_stream import RESTARTED, OneText
from readalong.api.wire.format import Format


class ChatWatcher(Watcher):
    """Ends its stream with an error where the job begins again after some text."""

    __slots__ = ("_text",)

    def __init__(
        self,
        feed: Feed,
        wire: Format,
        position: int,
        send_timeout: float,
        on_gone: Callable[[Feed], None],
        *,
        epoch: str = "",
    ) -> None:
        super().__init__(feed, wire, position, send_timeout, on_gone, epoch=epoch)
        self._text = OneText(feed.job_id)

    def _write_to(self, line: DetachableConnection, batch: Batch) -> None:
        if RESTARTED in batch.frames or not self._text.said:
            batch = self._cut(batch)
        Watcher._write_to(self, line, batch)  # for each token: `super` would cost as much again

    async def _write_by_send(self, batch: Batch) -> None:
        await super()._write_by_send(self._cut(batch))

    def _cut(self, batch: Batch) -> Batch:
        frames, ends = self._text.cut(batch.frames)
        return batch if frames is batch.frames else Batch(frames, batch.position, ends or batch.last)
