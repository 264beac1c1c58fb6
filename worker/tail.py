"""An attempt's end of the log: it appends, repairs what Redis lost, and waits out an outage."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from readalong.errors import Fenced, StoreUnavailable
from readalong.events import SPAN, Draft, Event, merge
from readalong.log import Appended, Claim, Log, encode
from readalong.scripts import Argument

logger = logging.getLogger(__name__)

#: Beyond so many events, its own or those of the attempts before it, a log is not compacted: one script call rewrites
#: it, and Redis serves nobody meanwhile.
_MOST: Final = 100_000
_MOST_BEFORE: Final = 10_000
#: Stands for each event of the attempts before that Redis has lost and nobody has any more: it keeps the numbers, and
#: what it would say is void.
_VOID: Final = ("content", b'{"content":""}')


class Tail:
    """Keeps the attempt's events until its end: Redis may lose its newest ones (a failover, a restart without AOF)."""

    def __init__(self, log: Log, job_id: str, claim: Claim, outage: float) -> None:
        """`outage` is seconds to wait for a Redis that is away."""
        self._log = log
        self._job_id = job_id
        self._claim = claim
        self._fence = claim.fence
        #: With the event of the claim itself, which Redis may lose too.
        self._kept: list[tuple[str, bytes]] = [] if claim.begun is None else [claim.begun]
        self._start = claim.last_seq - len(self._kept)
        self._written = claim.last_seq
        self._outage = outage

    async def append(self, drafts: list[Draft]) -> str | None:
        """Appends, and answers the cancel flag, None if unset. Raises Fenced, StoreUnavailable (the outage limit)."""
        events = encode(drafts)
        self._kept += events
        try:
            answer = await self._log.append(self._job_id, self._fence, self._written + 1, events)
        except StoreUnavailable:
            if not self._outage:
                raise
            return await self._write(self._append, self._outage)
        if answer.gap:
            return await self._write(self._append, self._outage)
        self._written = answer.last_seq
        return answer.flag

    async def finish(self, drafts: list[Draft], fields: dict[str, Argument]) -> None:
        """Appends the last events and ends the job. Waits for Redis as long as it takes. Raises Fenced."""
        self._kept += encode(drafts)

        async def write(first: int, events: list[tuple[str, bytes]]) -> Appended:
            return await self._log.finish(self._job_id, self._fence, first, events, fields)

        await self._write(write, None)

    async def compact(self) -> None:
        """Stores what the attempt wrote in few entries, after the end. Left undone, the log reads the same."""
        if self._start > _MOST_BEFORE or len(self._kept) > _MOST:
            return
        entries: list[Event] = []
        numbered = (Event(seq, *kept) for seq, kept in enumerate(self._kept, self._start + 1))
        for entry in merge(numbered):
            entries.append(entry)
            if entry.pieces or len(entries) % SPAN == 0:
                await asyncio.sleep(0)  # a long log takes a second: other streams go on meanwhile
        if len(entries) == len(self._kept):
            return
        try:
            await self._log.compact(self._job_id, self._claim.attempt, self._start + 1, entries)
        except StoreUnavailable as error:
            logger.info("job %s: its log stays as it is: %s", self._job_id, error)

    async def _append(self, first: int, events: list[tuple[str, bytes]]) -> Appended:
        return await self._log.append(self._job_id, self._fence, first, events)

    def _unwritten(self) -> list[tuple[str, bytes]]:
        lost = self._start - self._written
        return [_VOID] * lost + self._kept if lost > 0 else self._kept[-lost:]

    async def _write(
        self, write: Callable[[int, list[tuple[str, bytes]]], Awaitable[Appended]], outage: float | None
    ) -> str | None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        pause = 0.05
        while True:
            try:
                answer = await write(self._written + 1, self._unwritten())
                if answer.behind:
                    if self._claim.begun is None:
                        raise Fenced(f"job {self._job_id}: Redis has lost the claim")  # the next one finds the same
                    answer = await self._log.restore(self._job_id, self._claim)
            except StoreUnavailable as error:
                away = loop.time() - began
                if outage is not None and away >= outage:
                    raise
                if pause == 0.05:
                    logger.warning("job %s: %s; holding its events", self._job_id, error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, 1.0)
                continue
            if answer.gap:
                logger.warning(
                    "job %s: the log ends at %d, not at %d; sending again", self._job_id, answer.last_seq, self._written
                )
            self._written = answer.last_seq
            if not answer.gap:
                return answer.flag
