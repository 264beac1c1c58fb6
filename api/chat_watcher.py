"""One client of `/chat/stream` that knows of no second text."""

from __future__ import annotations

from collections.abc import Callable

from api.feed import Feed
from api.formats import Format
from api.formats.chat_stream import RESTARTED, OneText
from api.line import Line
from api.runs import Batch
from api.watcher import Watcher


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

    def _write_to(self, line: Line, batch: Batch) -> None:
        if RESTARTED in batch.frames or not self._text.said:
            batch = self._cut(batch)
        Watcher._write_to(self, line, batch)  # for each token: `super` would cost as much again

    async def _write_by_send(self, batch: Batch) -> None:
        await super()._write_by_send(self._cut(batch))

    def _cut(self, batch: Batch) -> Batch:
        frames, ends = self._text.cut(batch.frames)
        return batch if frames is batch.frames else Batch(frames, batch.position, ends or batch.last)
