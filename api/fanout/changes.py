"""Every job's changes of state, and the status of the whole, for operators who watch: nothing while none does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

import orjson

from readalong.api.fanout.hub import Hub
from readalong.core.errors import StoreUnavailable, UnknownSchema
from readalong.core.states import TERMINAL, Status
from readalong.store.job_record import Record, parse
from readalong.store.log import Log

logger = logging.getLogger(__name__)

#: Seconds between two looks at the status, and between two frames of a status of which only the times are new.
LOOK_EVERY: Final = 2.0
_REPEAT_EVERY: Final = 10.0
#: Seconds in which changes are gathered, to be read together.
_GATHER: Final = 0.05
#: Jobs that one round trip reads.
_BATCH: Final = 50
#: Jobs that changed and were not read yet, beyond which all streams begin anew.
_MOST: Final = 10_000
#: Seconds between two tries to subscribe.
_AGAIN: Final = 0.5
#: Tasks while there are viewers; one more subscribes anew while Redis is away.
_ALWAYS: Final = 2


class Viewer(Protocol):
    """A stream of changes."""

    #: Whether it gets the status.
    operates: bool

    def change(self, record: Record, left: frozenset[Status], encode: Callable[[str], bytes]) -> None:
        """A job has changed and `left` these states; `encode` returns it as JSON, for paths below a prefix."""

    def erased(self, record: Record) -> None:
        """A job has been erased."""

    def status(self, body: bytes) -> None:
        """The status has changed."""

    def end(self) -> None:
        """The stream ends; its client begins anew."""


class Changes:
    """One subscription, one read of a job that changed and one look at the status, for all viewers of a process."""

    def __init__(
        self,
        hub: Hub,
        log: Log,
        channel: str,
        look: Callable[[], Any],
        encode: Callable[[Record, str], bytes],
    ) -> None:
        """`look` returns the status as plain data. `encode` returns a job as JSON, its paths below a prefix."""
        self._hub = hub
        self._log = log
        self._channel = channel
        self._look = look
        self._encode = encode
        self._viewers: set[Viewer] = set()
        #: Kinds of the events by which a job changed, by its id, in order.
        self._changed: dict[str, set[str]] = {}
        self._erased: list[Record] = []
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._status = b""
        self._status_at = 0.0

    def __len__(self) -> int:
        return len(self._viewers)

    async def join(self, viewer: Viewer) -> None:
        """Tells the viewer of all changes from the return on. While Redis is away it tells the status alone, and ends
        the stream when Redis is back."""
        self._viewers.add(viewer)
        if not self._tasks:
            runs = (self._run(self._tell_changes, "changes"), self._run(self._tell_status, "status"))
            self._tasks = [asyncio.create_task(run) for run in runs]
        try:
            await self._hub.listen(self._channel, self)
        except StoreUnavailable:
            if len(self._tasks) == _ALWAYS:
                self._tasks.append(asyncio.create_task(self._run(self._subscribe, "subscribe")))
        if viewer.operates:
            if self._status and asyncio.get_running_loop().time() - self._status_at < LOOK_EVERY:
                viewer.status(self._status)
            else:
                self._status = b""  # the next look is told in any case
                self._wanted.set()

    def leave(self, viewer: Viewer) -> None:
        """The last one ends the subscription and the looks."""
        self._viewers.discard(viewer)
        if not self._viewers and self._tasks:
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                task.cancel()
            self._hub.unlisten(self._channel)
            self._changed.clear()
            self._erased.clear()
            self._status = b""

    def end(self) -> None:
        """Ends all streams."""
        for viewer in list(self._viewers):
            viewer.end()

    def take(self, data: bytes) -> None:
        """Takes a message of the channel. A person may publish anything there."""
        try:
            said = orjson.loads(data)
            job_id, kind = said["id"], said["type"]
            gone = _record(said["job"]) if kind == "erased" else None
            self._changed.setdefault(job_id, set()).add(kind)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            logger.warning("channel %s: no change of a job: %.100r: %s", self._channel, data, type(error).__name__)
            return
        if kind == "erased":
            del self._changed[job_id]
            if gone is not None:
                self._erased.append(gone)
        if len(self._changed) + len(self._erased) > _MOST:
            self._changed.clear()
            self._erased.clear()
            self.end()
        self._news.set()

    async def _run(self, turn: Callable[[], Any], name: str) -> None:
        """Calls `turn` until it returns something. A bug ends the streams, not the process."""
        while True:
            try:
                if await turn():
                    return
            except StoreUnavailable as error:
                logger.debug("%s: %s", name, error)
                self.end()
                await asyncio.sleep(_AGAIN)
            except Exception:
                logger.exception("%s: the streams of changes end", name)
                self.end()
                await asyncio.sleep(_AGAIN)

    async def _subscribe(self) -> bool:
        try:
            await self._hub.listen(self._channel, self)
        except StoreUnavailable:
            await asyncio.sleep(_AGAIN)
            return False
        self.end()  # what came before was not heard
        del self._tasks[_ALWAYS:]
        return True

    async def _tell_changes(self) -> None:
        await self._news.wait()
        await asyncio.sleep(_GATHER)
        self._news.clear()
        changed, self._changed = self._changed, {}
        erased, self._erased = self._erased, []
        ids = list(changed)
        for start in range(0, len(ids), _BATCH):
            records = await self._log.records(ids[start : start + _BATCH])
            for record in records:
                if record is not None:
                    self._tell(record, _left(record, changed[record.id]))
        for record in erased:
            for viewer in list(self._viewers):
                viewer.erased(record)

    def _tell(self, record: Record, left: frozenset[Status]) -> None:
        encoded: dict[str, bytes] = {}

        def encode(root_path: str) -> bytes:
            if root_path not in encoded:
                encoded[root_path] = self._encode(record, root_path)
            return encoded[root_path]

        for viewer in list(self._viewers):
            viewer.change(record, left, encode)

    async def _tell_status(self) -> None:
        loop = asyncio.get_running_loop()
        told: Any = None
        told_at = 0.0
        while True:
            if any(viewer.operates for viewer in self._viewers):
                body = await self._look()
                steady, now = _steady(body), loop.time()
                if not self._status or steady != told or now - told_at >= _REPEAT_EVERY:
                    told, told_at = steady, now
                    self._status = orjson.dumps(body)
                    for viewer in list(self._viewers):
                        if viewer.operates:
                            viewer.status(self._status)
                self._status_at = now
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    await self._wanted.wait()
            except TimeoutError:
                continue
            self._wanted.clear()


def _record(fields: dict[str, str]) -> Record | None:
    """Returns the record of an erased job; None if its keys were broken, or another version wrote it. Raises what a
    message that is none causes."""
    try:
        return parse({name.encode(): value.encode() for name, value in fields.items()})
    except UnknownSchema:
        return None


def _left(record: Record, kinds: set[str]) -> frozenset[Status]:
    """Returns the states that a job has left by events of these kinds."""
    left = set()
    if kinds & TERMINAL:
        left.add(Status.RUNNING if record.attempt else Status.QUEUED)
    if "started" in kinds:
        left.add(Status.QUEUED)
    return frozenset(left)


def _steady(body: dict[str, Any]) -> dict[str, Any]:
    """Returns what of a status is worth a frame when it changes: not what differs at each look."""
    redis = {name: value for name, value in body["redis"].items() if name != "round_trip_seconds"}
    redis["used_memory_bytes"] = (redis["used_memory_bytes"] or 0) >> 20
    workers = [
        {name: value for name, value in worker.items() if name not in ("last_heartbeat_at", "lag_seconds")}
        for worker in body["workers"]
    ]
    return {**body, "now": None, "redis": redis, "workers": workers}
