"""arq's Worker, woken at once and holding short leases.

arq polls every half second, holds a job for its whole time-out, and looks again at every job that runs elsewhere. This
one waits on a list, takes what is due in one call, and renews a short lease (docs/decisions/0002-woken-worker.md).
Running a job, its tries, its result and its slots stay arq's.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Container
from contextlib import suppress
from typing import Any, Final, NoReturn

import orjson
from arq.connections import ArqRedis
from arq.worker import Retry, Worker, func
from redis.exceptions import RedisError

from readalong import __version__
from readalong.core.errors import BrokenJob, StoreUnavailable
from readalong.core.settings import Settings
from readalong.process.outage import OutageLogger
from readalong.redis.eviction import Eviction
from readalong.redis.scripts import connect_with_scripts
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.presence import LOOK_EVERY, PresenceStore
from readalong.store.queue import FUNCTION, LeasedJob, Queue
from readalong.store.worker_registry import WorkerRegistry
from readalong.worker.abandoned_jobs import AbandonedJobs
from readalong.worker.attempt import Stop
from readalong.worker.cancel_listener import CancelListener
from readalong.worker.dead_workers import DeadWorkers
from readalong.worker.job_runner import JobRunner, generate
from readalong.worker.lifeline import Lifeline
from readalong.worker.model.providers import Providers
from readalong.worker.reconciler import Reconciler

logger = logging.getLogger(__name__)

#: arq counts each time a job is taken, deploys too; attempts are counted in the job's log instead.
_ARQ_TRIES: Final = 1_000_000
#: Seconds, at the end, for what Redis still has to be told and for closing its connections.
_LAST_WORDS: Final = 1.0


class QueueWorker(Worker):
    def __init__(self, settings: Settings, redis: ArqRedis, providers: Providers, identity: dict[str, Any]) -> None:
        """`identity` is what others see of this worker: id, host, pid."""
        self._settings = settings
        self._identity = identity
        self._id: str = identity["id"]
        self._redis = redis
        self._pipe = connect_with_scripts(redis, settings)
        self._log = Log(redis, settings, self._pipe)
        self._index = JobIndex(redis, settings, self._pipe)
        self._queue = Queue(redis, settings, self._pipe)
        self._sweep = Reconciler(self._log, self._index, self._queue, settings, self._end)
        self._orphans = AbandonedJobs(self._log, self._index, self._queue, PresenceStore(redis, settings, self._pipe))
        self._runner = JobRunner(settings, self._log, self._index, providers, identity, broken=self._break)
        self._cancels = CancelListener(redis, self._log, settings, self._runner.runs)
        self._lifeline = Lifeline(redis, settings.keys.alive(self._id), settings.redis_timeout)
        self._registry = WorkerRegistry(redis, settings, self._pipe)
        self._beating = asyncio.Lock()
        self._access = self._runner.access
        self._model_host = providers.host
        #: It ran out of memory: it stops as if it were told to, but has failed.
        self.broken = False
        self._outage = OutageLogger()
        self._eviction = Eviction(redis, settings)
        self._keep_alive_at = 0.0
        #: Jobs whose lease is being given back; their tasks are about to end.
        self._leaving: set[str] = set()
        #: Those of them that were taken again meanwhile.
        self._again: dict[str, LeasedJob] = {}
        # A BLPOP that blocks for longer than the socket's time-out would look like a Redis that is away.
        self._patience = min(settings.poll_interval, settings.redis_timeout / 2)
        self._stopping = asyncio.Event()
        self._slot_free = asyncio.Event()
        self._access.breaker.on_change = self._slot_free.set
        super().__init__(
            functions=[func(generate, name=FUNCTION, max_tries=_ARQ_TRIES)],
            queue_name=settings.keys.queue,
            redis_pool=redis,
            max_jobs=settings.max_jobs,
            # The run keeps its own time-outs and says in the log which of them ended it.
            job_timeout=None,  # type: ignore[arg-type]  # arq takes None, its annotation does not
            keep_result=0,
            handle_signals=False,
            # arq deletes this key at exit: the default one is shared by all workers.
            health_check_key=settings.keys.worker(self._id),
            ctx={"runner": self._runner},
            job_serializer=redis.job_serializer,
            job_deserializer=redis.job_deserializer,
            log_results=False,
        )

    def stop(self) -> None:
        """Takes nothing new, lets the streams run for the drain time, hands over the rest, and ends `main`."""
        logger.info("worker %s stops: it takes nothing new", self._id)
        self._stopping.set()
        self._slot_free.set()
        # What waits for its model may as well wait with a worker that stays.
        self._runner.give_up_waiting(stopping=True)

    def _break(self) -> None:
        self.broken = True
        self.stop()

    async def close(self) -> None:
        """Closes the connections, after `main`. arq's own calls what redis-py is about to remove."""
        await self._queue.close()
        await self._pipe.close()
        with suppress(TimeoutError):  # the other end of a TLS connection may be silent
            async with asyncio.timeout(_LAST_WORDS):
                await self._redis.aclose()

    async def main(self) -> None:
        """Works until `stop`; then ends within drain time, Redis time-out and a second, also while Redis is silent."""
        settings = self._settings
        logger.info(
            "worker %s ready: %d slots, model %s at %s, redis %s, readalong %s",
            self._id,
            self.max_jobs,
            settings.model,
            self._model_host,
            settings.safe_redis_url,
            __version__,
        )
        peers = []
        if window := settings.worker_disconnect_timeout:
            watch = DeadWorkers(self._registry, self._lifeline, self._id, window).watch()
            peers = [
                ("lifeline", self._lifeline.hold()),
                ("announce", self._every(0.1, self._announce)),
                ("peers", watch),
            ]
        loops = [
            asyncio.create_task(loop, name=name)
            for name, loop in (
                ("take", self._take_until_stopped()),
                ("renew", self._every(self._settings.lease / 3, self._renew)),
                ("sweep", self._every(self._sweep.every, self._sweep.turn)),
                ("orphans", self._every(LOOK_EVERY, self._orphans.turn)),
                ("cancel poll", self._cancels.poll()),
                ("cancel nudges", self._cancels.listen()),
                ("stop", self._stopping.wait()),
                *peers,
            )
        ]
        try:
            await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for loop in loops:
                if loop.done():
                    loop.result()  # a loop ends only by a bug: the process ends with its traceback
            loops.append(asyncio.create_task(self._stop_waiting(), name="stop waiting"))
            await self._drain(loops[0])
        finally:
            running = [*loops, *self.tasks.values()]
            for task in running:
                task.cancel()
            # Whatever is not told: leases and its sign of life run out.
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    await asyncio.gather(*running, return_exceptions=True)
                    await self._registry.leave(self._id)

    async def _take_until_stopped(self) -> None:
        """Fills free slots as soon as something is due. Without a free slot it pops no wake-up: others may be free."""
        token = secrets.token_hex(8)
        while not self._stopping.is_set():
            self._slot_free.clear()
            try:
                free = await self._room()
                if free <= 0:
                    await self._slot_or_try()
                    continue
                leaving = set(self._leaving)
                taken = await self._queue.acquire(self._id, free, token)
                self._outage.over()
                token = secrets.token_hex(8)
                for job in taken:
                    await self._begin(job, leaving)
                if not taken:
                    await self._queue.wait(self._patience)
            except (StoreUnavailable, RedisError) as error:
                self._outage.seen(error)
                await asyncio.sleep(random.uniform(0.2, 0.5))

    async def _room(self) -> int:
        """How many jobs may be taken: as many as slots are free, but few while the model lets none through."""
        free = self.max_jobs - len(self.tasks)
        breaker = self._access.breaker
        if free <= 0 or not breaker.shut:
            return free
        overdue = await self._queue.overdue(int(breaker.patience * 1000)) if breaker.hopeless else 0
        return min(free, max(overdue, breaker.probes()))

    async def _slot_or_try(self) -> None:
        """Waits for a free slot; if there is one, for the time to look again whether the model lets this worker in."""
        if len(self.tasks) >= self.max_jobs:
            await self._slot_free.wait()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._access.breaker.look_again):
                await self._slot_free.wait()

    async def _stop_waiting(self) -> None:
        try:
            await self._queue.stop_waiting()
        except StoreUnavailable as error:
            logger.debug("queue: %s", error)  # the waiting ends by itself a little later

    async def _begin(self, job: LeasedJob, leaving: Container[str] = ()) -> None:
        """`leaving`: those that were on their way back to the queue before this one was taken."""
        if self._stopping.is_set():
            await self._queue.nack(self._id, job.job_id)
        elif job.job_id in self._leaving:
            # One that began to leave since was given back after this take: it waits for the next.
            if job.job_id in leaving:
                self._again[job.job_id] = job
        elif job.job_id not in self.tasks:  # what we still run is ours again: Redis was away for longer than our lease
            self._start(job)

    async def _end(self, job_id: str) -> None:
        """Ends a job that waits for its next attempt and is to end, if nobody holds it: it needs no free slot."""
        if self._stopping.is_set() or job_id in self.tasks:
            return
        job = await self._queue.acquire_by_id(self._id, job_id)
        if job is not None:
            # Its claim finds that it is to end, and fences out whoever ran it.
            await self._begin(job)
            if (task := self.tasks.get(job_id)) is not None:
                # One after the other, for there may be many; but what waits for Redis must not keep the sweep.
                await asyncio.wait([task], timeout=self._settings.redis_timeout)

    def _start(self, job: LeasedJob) -> None:
        self._runner.begin(job.job_id, job.until)
        task = self.tasks[job.job_id] = self.loop.create_task(self._run_by_arq(job))
        task.add_done_callback(lambda done: self._stopped(job.job_id, done))

    async def _run_by_arq(self, job: LeasedJob) -> None:
        try:
            await self.run_job(job.job_id, job.score)
        except (RedisError, OSError) as error:
            # It could not read its own description. The run, which has begun, waits for Redis by itself.
            logger.warning("job %s: arq: %s", job.job_id, type(error).__name__)
            try:
                await self._runner.run(job.job_id)
            except Retry:
                await self.finish_job(job.job_id, False)
            else:
                await self.finish_job(job.job_id, True)

    def _stopped(self, job_id: str, task: asyncio.Task[Any]) -> None:
        del self.tasks[job_id]
        self._leaving.discard(job_id)
        self._runner.forget(job_id)
        self._slot_free.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # arq ends the process here. Its lease runs out and another worker goes on with the job.
            logger.error("job %s: the run broke", job_id, exc_info=error)
        again = self._again.pop(job_id, None)
        if again is not None and not self._stopping.is_set():
            self._start(again)

    async def finish_job(self, job_id: str, finish: bool, *_: Any) -> None:
        """Gives the lease back, if it is still ours: arq's own would delete another worker's."""
        self._leaving.add(job_id)
        try:
            if finish:
                await self._queue.ack(self._id, job_id)
            else:
                await self._queue.nack(self._id, job_id)
        except StoreUnavailable as error:
            logger.warning("job %s: %s; its lease runs out", job_id, error)

    async def finish_failed_job(self, job_id: str, _: bytes | None) -> None:
        """arq cannot read its own description of the job: the sweep writes it again."""
        await self._runner.give_up(job_id)
        await self.finish_job(job_id, True)

    async def _renew(self) -> None:
        """Renews leases and times to live, gives a sign of life, and stops runs whose lease is another's."""
        # A lease that is on its way back to the queue would be ours again, and nobody would run the job.
        held = [job_id for job_id in self.tasks if job_id not in self._leaving]
        for job_id in await self._queue.renew(self._id, held):
            self._interrupt(job_id, Stop.FENCED)
        if held:
            # Three commands for each job, against one for all: as seldom as the time to live allows.
            due = self.loop.time() >= self._keep_alive_at
            for job_id in await (self._log.keep_alive(held) if due else self._log.missing(held)):
                self._interrupt(job_id, Stop.FENCED)
            if due:
                self._keep_alive_at = self.loop.time() + self._settings.job_ttl / 4
        breaker = self._access.breaker
        breaker.tell()
        now = await self._beat()
        if breaker.shut:
            breaker.others = await self._registry.others_get_through(self._id, now)
            if breaker.others:
                self._runner.give_up_waiting(stopping=False)
        await self._eviction.look_once()

    async def _beat(self) -> int:
        """Gives a sign of life, and returns Redis' time. One at a time: an older one must not come after what takes it
        back."""
        async with self._beating:
            details = {**self._identity, "running": list(self._runner.runs)}
            if self._lifeline.run:
                details["connected_to"] = self._lifeline.run
            if self._access.breaker.shut:
                details["refused"] = self._access.breaker.code
            now = await self._index.now()
            await self._registry.heartbeat(self._id, orjson.dumps(details), now, int(self._settings.lease * 1000))
        return now

    async def _announce(self) -> None:
        """Tells at once that the lifeline is there, or broken: others would soon take a worker for dead that has said
        the one and is not to be seen."""
        await self._lifeline.changed.wait()
        self._lifeline.changed.clear()
        try:
            await self._beat()
        except StoreUnavailable:
            self._lifeline.changed.set()
            raise

    def _interrupt(self, job_id: str, stop: Stop) -> None:
        run = self._runner.runs.get(job_id)
        if run is not None:
            run.interrupt(stop)

    async def _every(self, seconds: float, turn: Callable[[], Awaitable[None]]) -> NoReturn:
        while True:
            pause = seconds
            try:
                await turn()
            except StoreUnavailable as error:
                self._outage.seen(error)
                # When Redis is back, leases want to be renewed before they are over.
                pause = min(seconds, random.uniform(0.2, 0.5))
            except (BrokenJob, RedisError) as error:
                # Not allowed, or a key that somebody broke by hand. Whoever mends it must not have to start us again.
                logger.error("%s", error)
            await asyncio.sleep(pause)

    async def _drain(self, take: asyncio.Task[Any]) -> None:
        """Lets what runs end, and hands over the rest. `take` is the loop that takes: it is about to end."""
        running = list(self.tasks.values())
        if running:
            logger.info("%d jobs may end within %g s", len(running), self._settings.drain_timeout)
            await asyncio.wait(running, timeout=self._settings.drain_timeout)
        # A run that waits for Redis cannot hand over: it is cancelled then. So is the take, not before: what it brought
        # would be nobody's until the lease ends.
        deadline = self.loop.time() + self._settings.redis_timeout
        while (self.tasks or not take.done()) and self.loop.time() < deadline:
            # A job that was taken a moment ago is no run yet: it is told in the next turn.
            for job_id in list(self._runner.runs):
                self._interrupt(job_id, Stop.DRAIN)
            await asyncio.wait([take, *self.tasks.values()], timeout=0.05)
