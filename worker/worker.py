"""arq's Worker, woken at once and holding short leases.

arq polls every half second, holds a job for its whole time-out, and looks again at every job that runs elsewhere. This
worker waits on a list, acquires due jobs in one call, and renews short leases (docs/decisions/0002-woken-worker.md).
arq runs each job. docs/decisions/0027-what-is-used-of-arq.md lists the names of arq that this module relies on.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple, NoReturn

from arq.worker import Retry, Worker, func
from redis.exceptions import RedisError

from readalong import __version__
from readalong.core.errors import BrokenJob, StoreRefused, StoreUnavailable
from readalong.core.settings import Settings
from readalong.process.outage import OutageLogger
from readalong.redis.eviction import Eviction
from readalong.redis.facade import RedisFacade
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.presence import LOOK_EVERY, PresenceStore
from readalong.store.queue import FUNCTION, LeasedJob, Queue
from readalong.store.threads import ThreadStore
from readalong.store.turns import Turns
from readalong.store.worker_registry import WorkerRegistry
from readalong.worker.abandoned_jobs import AbandonedJobs
from readalong.worker.attempt import Stop
from readalong.worker.cancel_listener import CancelListener
from readalong.worker.dead_workers import DeadWorkers
from readalong.worker.heartbeat import Heartbeat
from readalong.worker.job_runner import JobRunner, generate
from readalong.worker.lifeline import Lifeline
from readalong.worker.model.providers import Providers
from readalong.worker.reconciler import Reconciler

logger = logging.getLogger(__name__)

#: arq counts each time a job is acquired, deploys too. Attempts are counted in the job's log instead.
_ARQ_TRIES: Final = 1_000_000
#: Seconds, at the end, to cancel the tasks, to remove the sign of life, and to close the connections.
_LAST_WORDS: Final = 1.0
#: Seconds between two announcements of a lifeline that connects and breaks all the time.
_ANNOUNCE_EVERY: Final = 0.1


class _Loop(NamedTuple):
    """A coroutine that runs as long as the worker does, in a task of this name."""

    name: str
    run: Coroutine[Any, Any, Any]


class QueueWorker(Worker):
    """Acquires jobs, runs their attempts, and keeps its leases, until `stop`."""

    def __init__(self, settings: Settings, redis: RedisFacade, providers: Providers, identity: dict[str, Any]) -> None:
        """`identity` is the worker as others see it: id, host, pid."""
        #: The worker stops because its memory was used up.
        self.out_of_memory = False
        self._settings = settings
        self._id: str = identity["id"]
        self._redis = redis
        self._log = Log(redis, settings)
        self._index = JobIndex(redis, settings)
        self._queue = Queue(redis, settings)
        self._registry = WorkerRegistry(redis, settings)
        turns = Turns(self._log, self._queue, self._index, ThreadStore(redis, settings))
        self._reconciler = Reconciler(self._log, self._index, self._queue, settings, self._end_waiting, turns=turns)
        presence = PresenceStore(redis, settings)
        self._abandoned_jobs = AbandonedJobs(self._log, presence, turns=turns)
        self._runner = JobRunner(
            settings,
            self._log,
            self._index,
            providers,
            identity,
            turns=turns,
            on_memory_error=self._stop_without_memory,
        )
        self._cancels = CancelListener(redis, self._log, settings, self._runner.attempts)
        self._lifeline = Lifeline(redis, settings.keys.alive(self._id))
        self._breaker = self._runner.access.breaker
        self._heartbeat = Heartbeat(
            self._index,
            self._registry,
            identity,
            lifeline=self._lifeline,
            breaker=self._breaker,
            running=self._runner.attempts,
            slots=settings.max_jobs,
            lease=settings.lease,
        )
        self._model_host = providers.host
        self._outage = OutageLogger()
        self._eviction = Eviction(redis, settings)
        self._keep_alive_at = 0.0
        #: Jobs whose lease is being given back. Their tasks are about to end.
        self._releasing: set[str] = set()
        #: Jobs of `_releasing` that this worker has acquired again. They start when their task has ended.
        self._acquired_again: dict[str, LeasedJob] = {}
        # A BLPOP that blocks for longer than the socket's time-out would look like a Redis that is away.
        self._block_seconds = min(settings.poll_interval, settings.redis_timeout / 2)
        self._stopping = asyncio.Event()
        #: Set when a slot becomes free, and when the breaker opens or closes.
        self._capacity_changed = asyncio.Event()
        self._breaker.on_change = self._capacity_changed.set
        pool = redis.for_arq()
        unlimited: Any = None  # arq takes None, its annotation does not
        super().__init__(
            functions=[func(generate, name=FUNCTION, max_tries=_ARQ_TRIES)],
            queue_name=settings.keys.queue,
            redis_pool=pool,
            max_jobs=settings.max_jobs,
            # An attempt keeps its own time limits, and writes into the log which of them ended it.
            job_timeout=unlimited,
            keep_result=0,
            handle_signals=False,
            # arq deletes this key at exit: the default one is shared by all workers.
            health_check_key=settings.keys.worker(self._id),
            ctx={"runner": self._runner},
            job_serializer=pool.job_serializer,
            job_deserializer=pool.job_deserializer,
            log_results=False,
        )

    def stop(self) -> None:
        """Stops acquiring, gives the streams the drain time, hands the others over, and ends `main`."""
        logger.info("worker %s stopping: no new jobs", self._id)
        self._stopping.set()
        self._capacity_changed.set()
        # A job that waits for its model waits as well at a worker that stays.
        self._runner.give_up_waiting(stopping=True)

    def _stop_without_memory(self) -> None:
        self.out_of_memory = True
        self.stop()

    async def close(self) -> None:
        """Closes the connections, after `main`. arq's own `close` calls what redis-py is about to remove."""
        await self._queue.close()
        with suppress(TimeoutError):  # the other end of a TLS connection may be silent
            async with asyncio.timeout(_LAST_WORDS):
                await self._redis.close()

    async def main(self) -> None:
        """Works until `stop`. Then ends within drain time, Redis time-out and a second, also while Redis is silent.

        Raises the exception of a loop that ends by a bug: the process must end, not work on without it.
        """
        logger.info(
            "worker %s ready: %d slots, model %s at %s, redis %s, readalong %s",
            self._id,
            self.max_jobs,
            self._settings.model,
            self._model_host,
            self._settings.safe_redis_url,
            __version__,
        )
        acquiring, *loops = [asyncio.create_task(loop.run, name=loop.name) for loop in self._loops()]
        try:
            await asyncio.wait([acquiring, *loops], return_when=asyncio.FIRST_COMPLETED)
            for ended in (task for task in (acquiring, *loops) if task.done()):
                ended.result()
            loops.append(asyncio.create_task(self._stop_waiting(), name="stop waiting"))
            await self._drain(acquiring)
        finally:
            await self._leave([acquiring, *loops, *self.tasks.values()])

    def _loops(self) -> Iterator[_Loop]:
        """All loops of the worker; first the one that acquires."""
        settings = self._settings
        yield _Loop("acquire", self._acquire_until_stopped())
        yield _Loop("stop", self._stopping.wait())
        yield _Loop("renew", self._repeat(settings.lease / 3, self._renew))
        yield _Loop("reconcile", self._repeat(self._reconciler.every, self._reconciler.turn))
        yield _Loop("abandoned jobs", self._repeat(LOOK_EVERY, self._abandoned_jobs.turn))
        yield _Loop("cancel poll", self._cancels.poll())
        yield _Loop("cancel notifications", self._cancels.listen())
        yield _Loop("cancel looks", self._cancels.look_when_asked())
        if window := settings.worker_disconnect_timeout:
            dead_workers = DeadWorkers(self._registry, self._lifeline, self._id, window)
            yield _Loop("lifeline", self._lifeline.hold())
            yield _Loop("announce", self._repeat(_ANNOUNCE_EVERY, self._heartbeat.announce))
            yield _Loop("dead workers", dead_workers.watch())

    async def _repeat(self, seconds: float, turn: Callable[[], Awaitable[None]]) -> NoReturn:
        """Calls `turn` every so many seconds, sooner while Redis is away."""
        while True:
            pause = seconds
            try:
                await turn()
            except StoreUnavailable as error:
                self._outage.seen(error)
                # When Redis is back, leases must be renewed before they are over.
                pause = min(seconds, random.uniform(0.2, 0.5))
            except (BrokenJob, StoreRefused) as error:
                # A missing right, or a key that was broken by hand. Mending it must not require a restart.
                logger.error("%s", error)
            await asyncio.sleep(pause)

    async def _acquire_until_stopped(self) -> None:
        """Fills free slots as soon as jobs are due. Without a free slot it pops no wake-up: other workers may be
        free."""
        token = secrets.token_hex(8)
        while not self._stopping.is_set():
            self._capacity_changed.clear()
            try:
                capacity = await self._capacity()
                if capacity <= 0:
                    await self._wait_for_capacity()
                    continue
                releasing = set(self._releasing)
                acquired = await self._queue.acquire(self._id, capacity, token)
                self._outage.over()
                token = secrets.token_hex(8)  # kept until a reply came: a repeat gets the same jobs
                for job in acquired:
                    await self._accept(job, releasing)
                if not acquired:
                    await self._queue.wait(self._block_seconds)
            except (StoreUnavailable, StoreRefused) as error:
                self._outage.seen(error)
                await asyncio.sleep(random.uniform(0.2, 0.5))

    async def _capacity(self) -> int:
        """Returns how many jobs may be acquired: the free slots, or a few while the model lets none through."""
        free = self.max_jobs - len(self.tasks)
        breaker = self._breaker
        if free <= 0 or not breaker.is_open:
            return free
        overdue = await self._queue.overdue(int(breaker.patience * 1000)) if breaker.is_exhausted else 0
        return min(free, max(overdue, breaker.probes_left()))

    async def _wait_for_capacity(self) -> None:
        """Waits for a free slot. If a slot is free, waits until the model may be probed."""
        if len(self.tasks) >= self.max_jobs:
            await self._capacity_changed.wait()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._breaker.next_check):
                await self._capacity_changed.wait()

    async def _stop_waiting(self) -> None:
        """Ends the `wait` of the acquire loop."""
        try:
            await self._queue.stop_waiting()
        except StoreUnavailable as error:
            logger.debug("queue: %s", error)  # the wait ends by itself a little later

    async def _accept(self, job: LeasedJob, releasing: Container[str] = ()) -> None:
        """Starts an acquired job. `releasing`: jobs whose release had begun before it was acquired."""
        if self._stopping.is_set():
            await self._release(job.job_id, done=False)
        elif job.job_id in releasing and job.job_id in self._releasing:
            self._acquired_again[job.job_id] = job
        elif job.job_id in self._releasing:
            # The release began while the acquire was under way. If Redis served the release first, the new lease is
            # ours and no task of ours would ever give it back. If not, there is none, and this does nothing.
            await self._release(job.job_id, done=False)
        elif job.job_id not in self.tasks:  # a running job is ours again: Redis was away for longer than our lease
            self._start(job)

    async def _end_waiting(self, job_id: str) -> None:
        """Ends a job that waits for its next attempt, is to end, and has no holder. It needs no free slot."""
        if self._stopping.is_set() or job_id in self.tasks:
            return
        job = await self._queue.acquire_by_id(self._id, job_id)
        if job is not None:
            # Its claim finds that it is to end, and fences out the attempt before.
            await self._accept(job)
            if (task := self.tasks.get(job_id)) is not None:
                # One after the other, for there may be many. A job that waits for Redis must not keep the reconciler.
                await asyncio.wait([task], timeout=self._settings.redis_timeout)

    def _start(self, job: LeasedJob) -> None:
        self._runner.begin(job.job_id, job.until)
        task = self.tasks[job.job_id] = self.loop.create_task(self._run_by_arq(job))
        task.add_done_callback(lambda done: self._on_task_done(job.job_id, done))

    async def _run_by_arq(self, job: LeasedJob) -> None:
        try:
            await self.run_job(job.job_id, job.score)
        except (RedisError, OSError) as error:
            # arq could not read its own record of the job. The attempt, which has begun, waits for Redis by itself.
            logger.warning("job %s: arq: %s", job.job_id, type(error).__name__)
            try:
                await self._runner.run(job.job_id)
            except Retry:
                await self.finish_job(job.job_id, False)
            else:
                await self.finish_job(job.job_id, True)

    def _on_task_done(self, job_id: str, task: asyncio.Task[Any]) -> None:
        del self.tasks[job_id]
        self._releasing.discard(job_id)
        self._runner.forget(job_id)
        self._capacity_changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # arq would end the process. Here the lease runs out, and another worker goes on with the job.
            logger.error("job %s: the task failed unexpectedly", job_id, exc_info=error)
        again = self._acquired_again.pop(job_id, None)
        if again is not None and not self._stopping.is_set():
            self._start(again)

    async def finish_job(self, job_id: str, finish: bool, *_: Any) -> None:
        """Gives the lease back, if this worker still holds it. arq's own would delete another worker's."""
        self._releasing.add(job_id)
        await self._release(job_id, done=finish)

    async def _release(self, job_id: str, *, done: bool) -> None:
        try:
            if done:
                await self._queue.ack(self._id, job_id)
            else:
                await self._queue.nack(self._id, job_id)
        except StoreUnavailable as error:
            logger.warning("job %s: lease not released, it runs out: %s", job_id, error)

    async def finish_failed_job(self, job_id: str, _: bytes | None) -> None:
        """Drops a job whose arq record is unreadable. The reconciler enqueues it again."""
        await self._runner.give_up(job_id)
        await self.finish_job(job_id, True)

    async def _renew(self) -> None:
        """Renews leases and times to live, gives a sign of life, and stops attempts whose lease is another worker's."""
        # The renewal of a lease that is being released would give it to this worker for good, without an attempt.
        held = [job_id for job_id in self.tasks if job_id not in self._releasing]
        for job_id in await self._queue.renew(self._id, held):
            self._interrupt(job_id, Stop.FENCED)
        if held:
            # `keep_alive` costs three commands a job, `missing` one for all: as seldom as the time to live allows.
            due = self.loop.time() >= self._keep_alive_at
            for job_id in await (self._log.keep_alive(held) if due else self._log.missing(held)):
                self._interrupt(job_id, Stop.FENCED)
            if due:
                self._keep_alive_at = self.loop.time() + self._settings.job_ttl / 4
        self._breaker.log_outage()
        now = await self._heartbeat.beat()
        if self._breaker.is_open:
            self._breaker.others_connected = await self._registry.others_get_through(self._id, now)
            if self._breaker.others_connected:
                self._runner.give_up_waiting(stopping=False)
        await self._eviction.look_once()

    def _interrupt(self, job_id: str, stop: Stop) -> None:
        attempt = self._runner.attempts.get(job_id)
        if attempt is not None:
            attempt.interrupt(stop)

    async def _drain(self, acquiring: asyncio.Task[Any]) -> None:
        """Gives the attempts the drain time, then hands them over. `acquiring` is the loop that is about to end."""
        running = list(self.tasks.values())
        if running:
            logger.info("draining: %d jobs have %g s to finish", len(running), self._settings.drain_timeout)
            await asyncio.wait(running, timeout=self._settings.drain_timeout)
        # An attempt that waits for Redis cannot hand over; it is cancelled after this deadline. So is the acquire loop,
        # not before: the jobs of its last call would have no holder until their leases end.
        deadline = self.loop.time() + self._settings.redis_timeout
        while (self.tasks or not acquiring.done()) and self.loop.time() < deadline:
            # A job that was acquired a moment ago has no attempt yet: the next turn interrupts it.
            for job_id in list(self._runner.attempts):
                self._interrupt(job_id, Stop.DRAIN)
            await asyncio.wait([acquiring, *self.tasks.values()], timeout=0.05)

    async def _leave(self, tasks: list[asyncio.Task[Any]]) -> None:
        """Cancels the tasks and removes the sign of life. Without Redis, leases and sign of life run out."""
        for task in tasks:
            task.cancel()
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await asyncio.gather(*tasks, return_exceptions=True)
                await self._registry.leave(self._id)
