"""An attempt's end of the log: it appends, repairs what Redis lost, and waits out an outage."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from readalong.core.errors import BrokenJob, Fenced, StoreUnavailable
from readalong.core.events import PAGE_SIZE, Event, NewEvent, merge, merge_drafts
from readalong.redis.scripts import Argument
from readalong.store.log import AppendResult, Claim, Log, encode
from readalong.worker.model.limits import OVERHEAD

logger = logging.getLogger(__name__)

#: Bytes of the model's body whose events may gather while an append is in flight; beyond them nobody reads the model.
_MOST_GATHERED: Final = 65_536
#: Beyond so many events, its own or those of the attempts before it, a log is not compacted: one script call rewrites
#: it, and Redis serves nobody meanwhile.
_MOST: Final = 100_000
_MOST_BEFORE: Final = 10_000
#: Seconds from an append that notes its time to the next one that does.
_TIMED_EVERY: Final = 1.0
#: Stands for each event of the attempts before that Redis has lost and nobody has any more: it keeps the numbers, and
#: what it would say is void.
_VOID: Final = ("content", b'{"content":""}')


class Cancelled(Exception):
    """An append answered the cancel flag, which is its argument."""


class LogWriter:
    """Keeps the attempt's events until its end: Redis may lose its newest ones (a failover, a restart without AOF).

    One append is in flight at a time; what is added meanwhile gathers, and leaves merged when its answer has come.
    `on_trouble` is called at most once, with what ends the writing: Cancelled, Fenced, StoreUnavailable (the outage's
    limit), or a bug. Whoever waits in `answered` then waits until it is cancelled.
    """

    def __init__(
        self, log: Log, job_id: str, claim: Claim, outage: float, on_trouble: Callable[[Exception], None]
    ) -> None:
        """`outage` is seconds to wait for a Redis that is away."""
        self._log = log
        self._job_id = job_id
        self._claim = claim
        self._fence = claim.fence
        #: With the event of the claim itself, which Redis may lose too.
        self._kept: list[tuple[str, bytes]] = [] if claim.begun is None else [claim.begun]
        self._start = claim.last_seq - len(self._kept)
        self._written = claim.last_seq
        self._loop = asyncio.get_running_loop()
        #: When an append noted its time last, by the loop's clock.
        self._timed_at = -_TIMED_EVERY
        self._outage = outage
        self._on_trouble = on_trouble
        self._gathered: list[NewEvent] = []
        self._gathered_bytes = 0
        self._mending: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        #: Bytes of the attempt's events in the log, about.
        self.size = 0
        #: Whether an append is in flight; after trouble for ever.
        self.busy = False
        self._left = False

    @property
    def full(self) -> bool:
        """Whether so much has gathered that `answered` is to be awaited before more is added."""
        return self._gathered_bytes > _MOST_GATHERED

    def add(self, drafts: list[NewEvent], size: int) -> None:
        """Appends, now or with the answer that is awaited. `size`: bytes that they were read from."""
        self._gathered += drafts
        if self.busy:
            self._gathered_bytes += size
        else:
            self._send()

    async def wait_for_ack(self) -> None:
        """Waits for the answer to the append in flight. For one caller at a time."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def detach(self) -> None:
        """Appends nothing more but by `finish`, and hears no answer any more."""
        self._left = True
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.wait([self._mending])

    async def finish(self, drafts: list[NewEvent], fields: dict[str, Argument]) -> None:
        """Appends the last events and ends the job, after `leave`. Waits for Redis as long as it takes. Raises Fenced.

        An append may still be in flight: what it writes is skipped here, or the other way round.
        """
        self._kept += encode([*merge_drafts(self._gathered), *drafts])

        async def write(first: int, events: list[tuple[str, bytes]]) -> AppendResult:
            return await self._log.finish(self._job_id, self._fence, first, events, fields)

        await self._write(write, None)

    async def hand_over(self, reason: str, *, counts: bool) -> None:
        """Gives the job back, after `leave`, as the log's `hand_over`. Waits for Redis as long as it takes: unsaid, it
        would count as a lost worker. Raises Fenced."""

        async def write(*_: object) -> AppendResult:
            await self._log.requeue(self._job_id, self._fence, reason, counts=counts)
            return AppendResult("ok", self._written, None)

        await self._write(write, None)

    async def compact(self) -> None:
        """Stores what the attempt wrote in few entries, after the end. Left undone, the log reads the same."""
        if self._start > _MOST_BEFORE or len(self._kept) > _MOST:
            return
        entries: list[Event] = []
        numbered = (Event(seq, *kept) for seq, kept in enumerate(self._kept, self._start + 1))
        for entry in merge(numbered):
            entries.append(entry)
            if entry.chunk_lengths or len(entries) % PAGE_SIZE == 0:
                await asyncio.sleep(0)  # a long log takes a second: other streams go on meanwhile
        if len(entries) == len(self._kept):
            return
        try:
            await self._log.compact(self._job_id, self._fence, self._start + 1, entries)
        except (BrokenJob, StoreUnavailable) as error:
            logger.info("job %s: its log stays as it is: %s", self._job_id, error)

    def _send(self) -> None:
        events = encode(merge_drafts(self._gathered))
        self._gathered, self._gathered_bytes = [], 0
        self._kept += events
        for _, data in events:
            self.size += len(data) + OVERHEAD
        self.busy = True
        now = self._loop.time()
        timed = now - self._timed_at >= _TIMED_EVERY
        if timed:
            self._timed_at = now
        if not self._log.send(self._job_id, self._fence, self._written + 1, events, self._heard, timed=timed):
            self._resend()

    def _heard(self, answer: AppendResult | Exception) -> None:
        if self._left:
            return
        try:
            if isinstance(answer, Fenced):
                self._fail(answer)
            elif isinstance(answer, Exception) or answer.status != "ok":
                self._resend()
            else:
                self._written = answer.last_seq
                self._go_on(answer.cancel_flag)
        except Exception as error:
            # No memory, say. In the pipe it would break the connection, and this run wait for its answer for ever.
            self._fail(error)

    def _go_on(self, flag: str | None) -> None:
        """After an append: tells of the flag, or sends what has gathered."""
        if flag is not None:
            self._fail(Cancelled(flag))
            return
        self.busy = False
        if self._gathered:
            self._send()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        self._left = True
        self._on_trouble(error)

    def _resend(self) -> None:
        """Sends again until all that was sent is written, in a task, for the model may be silent meanwhile."""
        self._mending = asyncio.create_task(self._mended(), name=f"append {self._job_id}")

    async def _mended(self) -> None:
        try:
            flag = await self._write(self._append, self._outage)
        except Exception as error:
            self._fail(error)
        else:
            self._go_on(flag)

    async def _append(self, first: int, events: list[tuple[str, bytes]]) -> AppendResult:
        return await self._log.append(self._job_id, self._fence, first, events)

    def _unwritten(self) -> list[tuple[str, bytes]]:
        lost = self._start - self._written
        return [_VOID] * lost + self._kept if lost > 0 else self._kept[-lost:]

    async def _write(
        self, write: Callable[[int, list[tuple[str, bytes]]], Awaitable[AppendResult]], outage: float | None
    ) -> str | None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        pause = 0.05
        while True:
            try:
                answer = await write(self._written + 1, self._unwritten())
                if answer.status == "behind":
                    if self._claim.begun is None:
                        raise Fenced(f"job {self._job_id}: Redis has lost the claim")  # the next one finds the same
                    answer = await self._log.reclaim(self._job_id, self._claim)
            except StoreUnavailable as error:
                away = loop.time() - began
                if outage is not None and away >= outage:
                    raise
                if pause == 0.05:
                    logger.warning("job %s: %s; holding its events", self._job_id, error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, 1.0)
                continue
            if answer.status != "ok":
                logger.warning(
                    "job %s: the log ends at %d, not at %d; sending again", self._job_id, answer.last_seq, self._written
                )
            self._written = answer.last_seq
            if answer.status == "ok":
                return answer.cancel_flag
