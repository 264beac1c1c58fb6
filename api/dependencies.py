"""What the routes of one process share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.datastructures import Headers
from starlette.requests import Request

from readalong.api.auth.policy import Forbidden, Job, Policy, job_not_found
from readalong.api.fanout.changes import Changes
from readalong.api.fanout.hub import Hub
from readalong.api.fanout.loss_audit import LossAudit
from readalong.api.fanout.presence_reporter import PresenceReporter
from readalong.api.fanout.readers import Readers
from readalong.api.fanout.worker_waits import WorkerWaits
from readalong.api.operations_board import StatusBoard, listed
from readalong.api.redis_monitor import RedisMonitor
from readalong.api.submission.queue_limits import QueueLimits
from readalong.api.submission.retries import Retries
from readalong.api.submission.submitter import Submitter
from readalong.api.supervisor import Supervisor
from readalong.core.settings import Settings
from readalong.process.outage import OutageLogger
from readalong.redis.eviction import Eviction
from readalong.redis.facade import RedisFacade
from readalong.store.health import Probe
from readalong.store.idempotency import IdempotencyStore
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.presence import PresenceStore
from readalong.store.queue import Queue
from readalong.store.readers import ReaderStore
from readalong.store.repeats import RepeatStore
from readalong.store.stats import StatsStore
from readalong.store.status import StatusStore
from readalong.store.threads import ThreadStore
from readalong.store.turns import Turns
from readalong.store.worker_registry import WorkerRegistry


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The connections, stores and background tasks of one application."""

    settings: Settings
    policy: Policy
    redis: RedisFacade
    log: Log
    index: JobIndex
    idempotency: IdempotencyStore
    threads: ThreadStore
    turns: Turns
    queue: Queue
    submitter: Submitter
    retries: Retries
    hub: Hub
    presence: PresenceReporter
    readers: Readers
    registry: WorkerRegistry
    waits: WorkerWaits
    audit: LossAudit
    probe: Probe
    stats: StatsStore
    board: StatusBoard
    changes: Changes
    eviction: Eviction
    outage: OutageLogger
    monitor: RedisMonitor
    supervisor: Supervisor

    @classmethod
    def build(cls, settings: Settings, policy: Policy, on_death: Callable[[], None]) -> Dependencies:
        """Returns the dependencies, connected to nothing yet. `on_death`: see `create_app`."""
        redis = RedisFacade.connect(settings)
        log = Log(redis, settings)
        index, queue = JobIndex(redis, settings), Queue(redis, settings)
        idempotency = IdempotencyStore(redis, settings)
        threads = ThreadStore(redis, settings)
        turns = Turns(log, queue, index, threads)
        limits = QueueLimits(queue, settings.max_queued, settings.max_queued_bytes)
        retries = Retries(RepeatStore(redis, settings))
        hub = Hub(redis, log, settings)
        registry = WorkerRegistry(redis, settings)
        probe, eviction, outage = Probe(redis, settings), Eviction(redis, settings), OutageLogger()
        stats = StatsStore(redis, settings)
        board = StatusBoard(StatusStore(redis, settings, probe), stats, settings)
        return cls(
            settings=settings,
            policy=policy,
            redis=redis,
            log=log,
            index=index,
            idempotency=idempotency,
            threads=threads,
            turns=turns,
            queue=queue,
            submitter=Submitter(settings, log, idempotency, queue, limits, turns=turns, retries=retries),
            retries=retries,
            hub=hub,
            presence=PresenceReporter(hub, PresenceStore(redis, settings)),
            readers=Readers(hub.name, ReaderStore(redis, settings)),
            registry=registry,
            waits=WorkerWaits(hub, registry),
            audit=LossAudit(hub, log, settings.hub_heartbeat),
            probe=probe,
            stats=stats,
            board=board,
            changes=Changes(hub, log, settings.keys.changes, board.look, listed),
            eviction=eviction,
            outage=outage,
            monitor=RedisMonitor(probe, eviction, outage),
            supervisor=Supervisor(on_death),
        )

    def start(self) -> None:
        """Starts the background tasks. Redis may be away."""
        tasks = (self.presence.start(), self.audit.start(), self.monitor.start(), self.waits.start())
        self.supervisor.watch(*self.hub.start(), *tasks)

    async def authorize_watch(self, request: Request, job_id: str) -> None:
        """Raises Unauthorized, Forbidden, JobNotFound for a job that the policy hides, StoreUnavailable."""
        await self._authorize(self.policy.watch, request, job_id)

    async def authorize_change(self, request: Request, job_id: str) -> None:
        """Raises as `authorize_watch` does."""
        await self._authorize(self.policy.change, request, job_id)

    async def _authorize(self, check: Callable[[Headers, Job], Awaitable[None]], request: Request, job_id: str) -> None:
        try:
            await check(request.headers, Job(job_id, self.log))
        except Forbidden as error:
            if error.hidden:
                raise job_not_found(job_id) from None
            raise

    async def close(self) -> None:
        """Stops the background tasks, ends the streams and closes the connections."""
        await self.monitor.close()
        await self.audit.close()
        await self.waits.close()
        await self.presence.close()
        await self.hub.close()
        await self.readers.close()
        await self.redis.close()


def dependencies_of(request: Request) -> Dependencies:
    """Returns the dependencies of the application that serves this request."""
    found: Dependencies = request.app.state.dependencies
    return found


async def _dependencies_of(request: Request) -> Dependencies:
    """Returns the dependencies, for FastAPI. Async: FastAPI runs other functions in a thread, which costs more than
    the route."""
    return dependencies_of(request)


#: The type of a route's parameter.
Deps = Annotated[Dependencies, Depends(_dependencies_of)]
