"""What the routes share in one process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from arq.connections import ArqRedis
from starlette.datastructures import Headers
from starlette.requests import Request

from readalong.api.auth.policy import Forbidden, Job, Policy, no_job
from readalong.api.fanout.hub import Hub
from readalong.api.fanout.loss_audit import LossAudit
from readalong.api.fanout.presence_reporter import PresenceReporter
from readalong.api.fanout.worker_waits import WorkerWaits
from readalong.api.redis_monitor import RedisMonitor
from readalong.api.submission.queue_limits import QueueLimits
from readalong.api.supervisor import Supervisor
from readalong.core.settings import Settings
from readalong.process.outage import OutageLogger
from readalong.redis.client import connect
from readalong.redis.eviction import Eviction
from readalong.redis.multiplexed import MultiplexedConnection
from readalong.redis.scripts import connect_with_scripts
from readalong.store.health import Probe
from readalong.store.idempotency import IdempotencyStore
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.presence import PresenceStore
from readalong.store.queue import Queue
from readalong.store.worker_registry import WorkerRegistry


@dataclass(frozen=True, slots=True)
class Dependencies:
    settings: Settings
    policy: Policy
    redis: ArqRedis
    pipe: MultiplexedConnection
    log: Log
    index: JobIndex
    idempotency: IdempotencyStore
    queue: Queue
    room: QueueLimits
    hub: Hub
    attendance: PresenceReporter
    registry: WorkerRegistry
    waits: WorkerWaits
    audit: LossAudit
    probe: Probe
    eviction: Eviction
    outage: OutageLogger
    watch: RedisMonitor
    supervisor: Supervisor

    @classmethod
    def build(cls, settings: Settings, policy: Policy, on_death: Callable[[], None]) -> Dependencies:
        redis = connect(settings)
        pipe = connect_with_scripts(redis, settings)
        log = Log(redis, settings, pipe)
        hub = Hub(redis, log, settings)
        index, queue = JobIndex(redis, settings, pipe), Queue(redis, settings, pipe)
        attendance = PresenceReporter(hub, PresenceStore(redis, settings, pipe))
        registry = WorkerRegistry(redis, settings, pipe)
        probe, eviction, outage = Probe(pipe, settings), Eviction(redis, settings), OutageLogger()
        return cls(
            settings,
            policy,
            redis,
            pipe,
            log,
            index,
            IdempotencyStore(redis, settings, pipe),
            queue,
            QueueLimits(queue, settings.max_queued, settings.max_queued_bytes),
            hub,
            attendance,
            registry,
            WorkerWaits(hub, registry),
            LossAudit(hub, log, settings.hub_heartbeat),
            probe,
            eviction,
            outage,
            RedisMonitor(probe, eviction, outage),
            Supervisor(on_death),
        )

    def start(self) -> None:
        """Begins to hear what Redis publishes; Redis may be away."""
        tasks = (self.attendance.start(), self.audit.start(), self.watch.start(), self.waits.start())
        self.supervisor.watch(*self.hub.start(), *tasks)

    async def may_watch(self, request: Request, job_id: str) -> None:
        """Raises Unauthorized, Forbidden, JobNotFound for a job that the policy hides, StoreUnavailable."""
        await self._ask(self.policy.watch, request, job_id)

    async def may_change(self, request: Request, job_id: str) -> None:
        """Raises as `may_watch` does."""
        await self._ask(self.policy.change, request, job_id)

    async def _ask(self, ask: Callable[[Headers, Job], Awaitable[None]], request: Request, job_id: str) -> None:
        try:
            await ask(request.headers, Job(job_id, self.log))
        except Forbidden as error:
            if error.hidden:
                raise no_job(job_id) from None
            raise

    async def close(self) -> None:
        await self.watch.close()
        await self.audit.close()
        await self.waits.close()
        await self.attendance.close()
        await self.hub.close()
        await self.pipe.close()
        await self.redis.aclose()


def dependencies_of(request: Request) -> Dependencies:
    """The services of the app that serves this request."""
    found: Dependencies = request.app.state.services
    return found


async def dependencies(request: Request) -> Dependencies:
    """The same, as a dependency of a route.

    Async, though it awaits nothing: FastAPI runs what is not in a thread, which costs more than the route.
    """
    return dependencies_of(request)
