"""Writes an attempt's events: appends them, sends again what Redis lost, and waits out an outage."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Final

from readalong.core.errors import BrokenJob, Fenced, StoreUnavailable
from readalong.core.events import PAGE_SIZE, Event, NewEvent, merge, merge_drafts
from readalong.redis.facade import Argument
from readalong.store.log import AppendResult, Claim, Log, encode
from readalong.worker.model.limits import OVERHEAD
from readalong.worker.progress import Progress

logger = logging.getLogger(__name__)

#: Bytes of the model's body whose events may wait behind an append; beyond them the model is not read.
_MOST_PENDING: Final = 65_536
#: Beyond so many events, of this attempt or of those before it, a log is not compacted: one script call rewrites it,
#: and Redis serves no other client meanwhile.
_MOST: Final = 100_000
_MOST_BEFORE: Final = 10_000
#: Seconds between two appends that note their time.
_TIMED_EVERY: Final = 1.0
#: Seconds between two tries while Redis is away: the first pause and the longest.
_PAUSES: Final = (0.05, 1.0)
#: Replaces each event of earlier attempts that Redis has lost. It keeps the numbers; `restarted` makes its text void.
_PLACEHOLDER: Final = ("content", b'{"content":""}')

_Encoded = tuple[str, bytes]


class Cancelled(Exception):
    """An append returned the cancel flag."""

    def __init__(self, flag: str) -> None:
        super().__init__(flag)
        self.flag = flag


class _State(Enum):
    #: The next event is sent at once.
    IDLE = auto()
    #: An append is in flight, or is sent again. New events wait.
    BUSY = auto()
    #: `finish` and `requeue` alone may write. Late replies are ignored.
    STOPPED = auto()


class LogWriter:
    """Keeps the attempt's events until its end: Redis may lose its newest ones (a failover, a restart without AOF).

    One append is in flight at a time. Events that are added meanwhile are merged and sent after its reply.
    `on_failure` is called at most once, with the error that ends the writing: Cancelled, Fenced, StoreUnavailable after
    `outage` seconds, or a bug. A caller of `wait_for_ack` then waits until it is cancelled.
    """

    def __init__(
        self, log: Log, job_id: str, claim: Claim, outage: float, on_failure: Callable[[Exception], None]
    ) -> None:
        """`outage` is seconds to wait for a Redis that is away."""
        #: Bytes of the attempt's events in the log, about.
        self.size = 0
        self._log = log
        self._job_id = job_id
        self._claim = claim
        self._fence = claim.fence
        self._outage = outage
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._state = _State.IDLE
        #: The attempt's events that were sent. The claim's own is among them: Redis may lose it too.
        self._events: list[_Encoded] = [] if claim.begun is None else [claim.begun]
        #: The log's last number before the attempt.
        self._base_seq = claim.last_seq - len(self._events)
        #: The last number that Redis has acknowledged.
        self._acked_seq = claim.last_seq
        self._pending: list[NewEvent] = []
        self._pending_bytes = 0
        self._progress = Progress(claim.times.waited, self._loop.time())
        #: When an append noted its time last, by the loop's clock.
        self._timed_at = -_TIMED_EVERY
        self._resending: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether an append is in flight. True for good once the writing has ended."""
        return self._state is not _State.IDLE

    @property
    def full(self) -> bool:
        """Whether so much waits that the caller must await `wait_for_ack` before it adds more."""
        return self._pending_bytes > _MOST_PENDING

    def add(self, events: list[NewEvent], size: int) -> None:
        """Appends now, or after the append in flight. `size`: bytes that the events were read from."""
        self._pending += events
        if self._state is _State.IDLE:
            self._send()
        else:
            self._pending_bytes += size

    async def wait_for_ack(self) -> None:
        """Waits for the reply to the append in flight. For one caller at a time."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def detach(self) -> None:
        """Stops appending and ignores late replies. Only `finish` or `requeue` may follow."""
        self._state = _State.STOPPED
        if self._resending is not None:
            self._resending.cancel()
            await asyncio.wait([self._resending])

    async def finish(self, events: list[NewEvent], fields: dict[str, Argument]) -> None:
        """Appends the last events and ends the job. Waits for Redis as long as it takes. Raises Fenced.

        An append may still be in flight: whichever of the two comes second skips what the first has written.
        """
        self._progress.add(len(self._pending), self._loop.time())
        if progress := self._progress.encode(self._loop.time()):
            fields = {**fields, "progress": progress}
        self._events += encode([*merge_drafts(self._pending), *events])

        async def write(first: int, events: list[_Encoded]) -> AppendResult:
            return await self._log.finish(self._job_id, self._fence, first, events, fields)

        await self._write(write, outage=None)

    async def requeue(self, reason: str, *, counts: bool) -> None:
        """Hands the job to its next attempt, as the log's `requeue` does. Raises Fenced.

        Waits for Redis as long as it takes: the next claim would count a silent hand-over as a lost worker.
        """

        async def write(*_: object) -> AppendResult:
            await self._log.requeue(self._job_id, self._fence, reason, counts=counts)
            return AppendResult("ok", self._acked_seq, None)

        await self._write(write, outage=None)

    async def compact(self) -> None:
        """Stores the attempt's events in few entries, after the end. A log that is not compacted reads the same."""
        if self._base_seq > _MOST_BEFORE or len(self._events) > _MOST:
            return
        entries: list[Event] = []
        numbered = (Event(seq, *event) for seq, event in enumerate(self._events, self._base_seq + 1))
        for entry in merge(numbered):
            entries.append(entry)
            if entry.chunk_lengths or len(entries) % PAGE_SIZE == 0:
                await asyncio.sleep(0)  # a long log takes a second: other streams go on meanwhile
        if len(entries) == len(self._events):
            return
        try:
            await self._log.compact(self._job_id, self._fence, self._base_seq + 1, entries)
        except (BrokenJob, StoreUnavailable) as error:
            logger.info("job %s: log not compacted: %s", self._job_id, error)

    def _send(self) -> None:
        count = len(self._pending)
        events = encode(merge_drafts(self._pending))
        self._pending, self._pending_bytes = [], 0
        self._events += events
        for _, data in events:
            self.size += len(data) + OVERHEAD
        self._state = _State.BUSY
        now = self._loop.time()
        self._progress.add(count, now)
        timed = now - self._timed_at >= _TIMED_EVERY
        progress = b""
        if timed:
            self._timed_at = now
            progress = self._progress.encode()
        first = self._acked_seq + 1
        if not self._log.send(self._job_id, self._fence, first, events, self._on_reply, timed=timed, progress=progress):
            self._resend()

    def _on_reply(self, reply: AppendResult | Exception) -> None:
        """Takes the reply to `_send`. The connection calls it, so an exception here would break the connection, and the
        attempt would wait for ever."""
        if self._state is _State.STOPPED:
            return
        try:
            if isinstance(reply, Fenced):
                self._fail(reply)
            elif isinstance(reply, Exception) or reply.status != "ok":
                self._resend()
            else:
                self._acked_seq = reply.last_seq
                self._acknowledged(reply.cancel_flag)
        except Exception as error:
            self._fail(error)

    def _acknowledged(self, flag: str | None) -> None:
        """All that was sent is in the log: sends the events that wait, or ends the writing if the job is cancelled."""
        if flag is not None:
            self._fail(Cancelled(flag))
            return
        self._state = _State.IDLE
        if self._pending:
            self._send()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        self._state = _State.STOPPED
        self._on_failure(error)

    def _resend(self) -> None:
        """Starts a task that appends again until Redis has everything. `add` does not wait for it, and an attempt whose
        model is silent needs it too."""
        self._resending = asyncio.create_task(self._append_until_acknowledged(), name=f"append {self._job_id}")

    async def _append_until_acknowledged(self) -> None:
        try:
            self._acknowledged(await self._write(self._append, outage=self._outage))
        except Exception as error:
            self._fail(error)

    async def _append(self, first: int, events: list[_Encoded]) -> AppendResult:
        return await self._log.append(self._job_id, self._fence, first, events)

    async def _write(
        self, write: Callable[[int, list[_Encoded]], Awaitable[AppendResult]], *, outage: float | None
    ) -> str | None:
        """Calls `write` with all events that Redis lacks, until it has them. Returns the cancel flag.

        Raises Fenced, and StoreUnavailable once Redis has been away for `outage` seconds; None: never.
        """
        began = self._loop.time()
        pause, longest = _PAUSES
        while True:
            try:
                result = await write(self._acked_seq + 1, self._unacknowledged())
                if result.status == "behind":
                    result = await self._reclaim()
            except StoreUnavailable as error:
                if outage is not None and self._loop.time() - began >= outage:
                    raise
                if pause == _PAUSES[0]:
                    logger.warning("job %s: %s; holding its events", self._job_id, error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, longest)
                continue
            if result.status != "ok":
                logger.warning(
                    "job %s: the log ends at %d, not at %d; sending again",
                    self._job_id,
                    result.last_seq,
                    self._acked_seq,
                )
            self._acked_seq = result.last_seq
            if result.status == "ok":
                return result.cancel_flag

    async def _reclaim(self) -> AppendResult:
        """Restores the claim, which Redis has lost. Raises Fenced if the claim wrote no event to restore it from."""
        if self._claim.begun is None:
            raise Fenced(f"job {self._job_id}: Redis has lost the claim")  # the next claim finds the job as it was
        return await self._log.reclaim(self._job_id, self._claim)

    def _unacknowledged(self) -> list[_Encoded]:
        acked = self._acked_seq - self._base_seq
        return [_PLACEHOLDER] * -acked + self._events if acked < 0 else self._events[acked:]
