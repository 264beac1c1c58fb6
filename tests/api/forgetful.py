"""A Redis that loses a job's newest data, workers that keep their events, and the checks of its watchers' streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import orjson
from arq.connections import ArqRedis

from readalong.api.fanout.hub import Hub
from readalong.core.events import NewEvent
from readalong.core.position import Position
from readalong.core.settings import Settings
from readalong.core.sse import Message
from readalong.redis.facade import Argument
from readalong.store.log import AppendResult, Claim, ClaimStatus, Log, encode
from tests.api.helpers import Client
from tests.readalong.helpers import command
from tests.readalong.jobs import METRICS, WORKER, queued
from tests.support.waiting import WITHIN, until


class Forgetful:
    """The Redis of one job. `forget` restores the state of the last `keep`, and drops all subscriptions."""

    def __init__(self, redis: ArqRedis, names: Sequence[str]) -> None:
        self._redis = redis
        self._names = names
        self._kept: list[bytes | None] = []

    async def keep(self) -> None:
        self._kept = [await self._redis.dump(name) for name in self._names]

    async def forget(self, *, noticed: bool = True) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            for name, value in zip(self._names, self._kept, strict=True):
                pipe.delete(name)
                if value is not None:
                    pipe.restore(name, 0, value)
            if noticed:
                pipe.client_kill_filter(_type="pubsub")
            await pipe.execute()


class Worker:
    """An attempt that keeps its events, as a worker does. Event n of the claim "aaa" has the text "aaa:n "."""

    def __init__(self, log: Log, job_id: str, claim: Claim) -> None:
        assert claim.begun is not None
        self._log = log
        self._job_id = job_id
        self._claim = claim
        self._start = claim.last_seq - 1
        self._kept = [claim.begun]
        self.written = claim.last_seq

    @classmethod
    async def claims(cls, log: Log, job_id: str, token: str) -> Worker:
        claim = await log.claim(job_id, WORKER, token)
        assert claim.status == ClaimStatus.RUN
        return cls(log, job_id, claim)

    async def say(self, count: int = 1) -> None:
        """Raises Fenced."""
        first = self._start + len(self._kept) + 1
        texts = [f"{self._claim.token}:{number} " for number in range(first, first + count)]
        self._kept += encode([NewEvent("content", {"content": text}) for text in texts])
        await self._write(lambda first, events: self._log.append(self._job_id, self._claim.fence, first, events))

    async def finish(self) -> None:
        """Raises Fenced."""
        self._kept += encode([NewEvent("done", {"content": ""})])
        fields: dict[str, Argument] = {"metrics": METRICS}
        await self._write(
            lambda first, events: self._log.finish(self._job_id, self._claim.fence, first, events, fields)
        )

    async def _write(self, write: Callable[..., Awaitable[AppendResult]]) -> None:
        while True:
            lost = self._start - self.written
            unwritten = [("content", b'{"content":""}')] * lost + self._kept if lost > 0 else self._kept[-lost:]
            answer = await write(self.written + 1, unwritten)
            if answer.status == "behind":
                answer = await self._log.reclaim(self._job_id, self._claim)
            self.written = answer.last_seq
            if answer.status == "ok":
                return


async def job(log: Log, redis: ArqRedis, settings: Settings) -> tuple[str, Forgetful]:
    """Creates a job with an unlimited number of attempts."""
    job_id = await queued(log)
    await command(redis, "HSET", settings.keys.job(job_id), "max_attempts", "1000")
    forgetful = Forgetful(redis, settings.keys.of_job(job_id)[:3])
    await forgetful.keep()
    return job_id, forgetful


async def attempt(
    log: Log, redis: ArqRedis, settings: Settings, *, kept: int = 0, lost: int = 0
) -> tuple[str, Forgetful, Worker]:
    """Creates a job whose first attempt, of the claim "aaa", has written `kept` and then `lost` texts.

    `forget` loses the latter. Without `kept` it loses the claim too.
    """
    job_id, forgetful = await job(log, redis, settings)
    one = await Worker.claims(log, job_id, "aaa")
    if kept:
        await one.say(kept)
        await forgetful.keep()
    if lost:
        await one.say(lost)
    return job_id, forgetful, one


def check(messages: Sequence[Message], after: Position, last: str) -> None:
    """Checks that each text has the epoch of its id and follows the event before it, up to the end, whose id is `last`.

    Where Redis lost the text of a finished attempt, the numbers say nothing; then another attempt starts.
    """
    position = after
    void = ""
    for message in messages:
        found, fields = Position.parse(message.id), orjson.loads(message.data)
        if message.event == "restarted" and fields["reason"] == "log_lost":
            position = found
            continue
        assert found.seq > position.seq, (position, message)
        if message.event == "content" and fields["content"]:
            numbers = range(position.seq + 1, found.seq + 1)
            whole = "".join(f"{found.epoch}:{number} " for number in numbers)
            assert position.epoch in ("", found.epoch), (position, message)
            assert whole.startswith(fields["content"]), (position, message)
            assert void != found.epoch
            if whole != fields["content"]:
                void = found.epoch
        elif message.event != "content":
            assert found.seq == position.seq + 1, (position, message)
        position = found
    assert str(position) == last


def told(messages: Sequence[Message]) -> list[str]:
    """Returns the ids of the notices that the log is lost."""
    return [message.id for message in messages if orjson.loads(message.data).get("reason") == "log_lost"]


async def watch(hub: Hub, job_id: str, position: str = "0") -> list[Message]:
    """Returns all messages that a client gets from this position."""
    client = Client()
    seq, epoch = Position.parse(position)
    async with asyncio.timeout(WITHIN):
        await client.watch(hub, job_id, seq, epoch=epoch)
    return client.seen


@asynccontextmanager
async def watching(hub: Hub, job_id: str, reached: int) -> AsyncIterator[Client]:
    """Yields a client that has this event, and waits for the end of its stream."""
    client = Client()
    task = asyncio.create_task(client.watch(hub, job_id))
    await client.reaches(reached)
    yield client
    async with asyncio.timeout(WITHIN):
        await task


async def waiting(hub: Hub, job_id: str, position: str) -> asyncio.Task[list[Message]]:
    """Starts `watch`, and returns when the hub has this watcher as its only one."""
    task = asyncio.create_task(watch(hub, job_id, position))
    await until(lambda: "watchers=1" in repr(hub), "the watcher")
    return task
