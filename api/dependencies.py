"""What the routes share in one process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from arq.connections import ArqRedis
from starlette.datastructures import Headers
from starlette.requests import Request

from readalong.api.auth.policy import Forbidden, Job, Policy, no_job
from readalong.api.fanout.hub import Hub
from readalong.api.fanout.loss_audit import Audit
from readalong.api.fanout.presence_reporter import Attendance
from readalong.api.fanout.worker_waits import Waits
from readalong.api.redis_monitor import RedisWatch
from readalong.api.submission.queue_limits import Room
from readalong.api.supervisor import Supervisor
from readalong.core.settings import Settings
from readalong.process.outage import Outage
from readalong.redis.client import connect
from readalong.redis.eviction import Eviction
from readalong.redis.multiplexed import Pipe
from readalong.redis.scripts import pipe_with_scripts
from readalong.store.health import Probe
from readalong.store.job_index import Index
from readalong.store.log import Log
from readalong.store.presence import Watched
from readalong.store.queue import Queue
from readalong.store.worker_registry import Registry


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    policy: Policy
    redis: ArqRedis
    pipe: Pipe
    log: Log
    index: Index
    queue: Queue
    room: Room
    hub: Hub
    attendance: Attendance
    registry: Registry
    waits: Waits
    audit: Audit
    probe: Probe
    eviction: Eviction
    outage: Outage
    watch: RedisWatch
    supervisor: Supervisor

    @classmethod
    def build(cls, settings: Settings, policy: Policy, on_death: Callable[[], None]) -> Services:
        redis = connect(settings)
        pipe = pipe_with_scripts(redis, settings)
        log = Log(redis, settings, pipe)
        hub = Hub(redis, log, settings)
        index, queue = Index(redis, settings, pipe), Queue(redis, settings, pipe)
        attendance = Attendance(hub, Watched(redis, settings, pipe))
        registry = Registry(redis, settings, pipe)
        probe, eviction, outage = Probe(pipe, settings), Eviction(redis, settings), Outage()
        return cls(
            settings,
            policy,
            redis,
            pipe,
            log,
            index,
            queue,
            Room(queue, settings.max_queued, settings.max_queued_bytes),
            hub,
            attendance,
            registry,
            Waits(hub, registry),
            Audit(hub, log, settings.hub_heartbeat),
            probe,
            eviction,
            outage,
            RedisWatch(probe, eviction, outage),
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


def services_of(request: Request) -> Services:
    """The services of the app that serves this request."""
    found: Services = request.app.state.services
    return found


async def services(request: Request) -> Services:
    """The same, as a dependency of a route.

    Async, though it awaits nothing: FastAPI runs what is not in a thread, which costs more than the route.
    """
    return services_of(request)
