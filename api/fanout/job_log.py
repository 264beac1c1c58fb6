"""One job's log as a feed reads it: events, and which claims wrote them."""

from __future__ import annotations

import asyncio

from readalong.core.errors import BrokenJob, JobNotFound
from readalong.core.events import PAGE_SIZE, Event
from readalong.store.epochs import BEGINS, Epochs
from readalong.store.job_record import JobState
from readalong.store.log import Log

#: What begins a log without an attempt.
_QUEUED = Event(1, "queued", b"{}")


class JobLog:
    """Each call raises StoreUnavailable, JobNotFound, BrokenJob."""

    def __init__(self, job_id: str, log: Log) -> None:
        self._job_id = job_id
        self._log = log

    async def state(self) -> JobState:
        [state] = await self._log.states([self._job_id])
        if state is None:
            raise JobNotFound(f"job {self._job_id} is gone from Redis")
        if state.broken:
            raise BrokenJob(f"What Redis holds of job {self._job_id} cannot be read.")
        return state

    async def read(self, after: int) -> tuple[list[Event], JobState]:
        """Returns the events after this position, and the job's state as it was after that: it tells whether another
        claim wrote them."""
        calls = self._log.read_merged(self._job_id, after, PAGE_SIZE), self.state()
        events, state = await asyncio.gather(*calls, return_exceptions=True)
        if isinstance(events, BaseException):
            raise events
        if isinstance(state, BaseException):
            raise state
        return events, state

    async def beginning(self, epochs: Epochs, newest: int) -> Event:
        """Returns the event that began the present attempt, up to number `newest`; `queued` if there is none."""
        for first in reversed([first for first in epochs.firsts if first <= newest]):
            for event in await self._log.read_merged(self._job_id, first - 1, 1):
                # The newest claim may have come only to write the end.
                if event.type in BEGINS and event.seq == first:
                    return event._replace(epoch=epochs.at(first))
        return _QUEUED


def parting(known: Epochs, newest: int, ended: bool, state: JobState) -> int | None:
    """Returns the first number from which on Redis has another log than the known one; None if it has the same, or less
    of it.

    `newest` and `ended` are of the known log.
    """
    last = state.last_seq
    found = known.parting(Epochs(state.epochs), min(newest, last))
    if found is None and last < newest and (state.ended or ended):
        return last + 1  # the rest will not come again
    return newest if found is None and ended and not state.ended else found
