"""A log in memory, as an encoded log reads it from a feed."""

from __future__ import annotations

from collections.abc import Callable

from readalong.api.fanout.log_pages import LogPages
from readalong.api.fanout.replay_buffer import ReplayBuffer
from readalong.api.fanout.text_runs import TextRuns
from readalong.core.events import PAGE_SIZE, Event


class Source:
    """All events of a log, its pages, and a window of its newest events."""

    job_id = "job"

    def __init__(self, events: list[Event], max_bytes: int = 1 << 20) -> None:
        self.events = events
        self.pages = LogPages(max_bytes)
        self.window = ReplayBuffer(0, max_bytes)
        for event in events:
            self.window.add(event)
        self.lost = Event(3, "restarted", b'{"attempt":1}')
        #: Called when a page has been read.
        self.on_read: list[Callable[[], None]] = []

    async def read_page(self, after: int) -> TextRuns:
        start = after // PAGE_SIZE * PAGE_SIZE
        runs = TextRuns(start)
        runs.extend(self.events[start : start + PAGE_SIZE])
        for call in self.on_read:
            call()
        return runs

    def lost_event(self) -> Event:
        return self.lost
