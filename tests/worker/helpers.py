"""A queue with real workers, the demo model, and waits for their effects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from arq.connections import ArqRedis
from pydantic import AnyUrl

from readalong.core.events import TEXT, Event
from readalong.core.keys import new_job_id
from readalong.core.options import JobOptions
from readalong.core.settings import Settings
from readalong.core.states import TERMINAL
from readalong.redis.facade import RedisFacade
from readalong.store.job_index import JobIndex
from readalong.store.job_record import Record
from readalong.store.log import Log
from readalong.store.queue import Queue
from readalong.store.submission import Submission
from readalong.store.threads import ThreadStore
from readalong.store.turns import Turns
from readalong.store.worker_registry import WorkerRegistry
from readalong.worker.model.providers import Providers
from readalong.worker.worker import QueueWorker
from tests.readalong.helpers import check_log, types
from tests.support.model import serving_model
from tests.support.waiting import WITHIN, until

ASKED = [{"role": "user", "content": "How does an umbrella work?"}]


def settings_for(url: str, **changes: Any) -> Settings:
    """Returns settings with short times. No sweep disturbs a test unless it asks for one."""
    values: dict[str, Any] = {
        "model": "demo",
        "lease": 5.0,
        "cancel_poll": 0.05,
        "poll_interval": 0.1,
        "sweep_interval": 3600,
        "drain_timeout": 0,
        "redis_timeout": 20,
        "first_token_timeout": 200,
        "stall_timeout": 200,
        "model_patience": 0,
        **changes,
    }
    return Settings(redis_url=AnyUrl(url), **values)


class DemoModel:
    """The demo model, running; `url` is its base URL."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http

    async def stats(self) -> dict[str, Any]:
        async with self._http.get(self.url.removesuffix("/v1") + "/stats") as answer:
            stats: dict[str, Any] = await answer.json()
            return stats

    async def bodies(self) -> list[dict[str, Any]]:
        """The request bodies so far."""
        return [request["body"] for request in (await self.stats())["requests"]]

    async def streaming(self) -> None:
        """Waits until a stream is open."""

        async def opened() -> bool:
            return bool((await self.stats())["open"])

        await until(opened)

    async def left_alone(self) -> dict[str, Any]:
        """Waits until no stream is open: every client has closed its connection or read the end."""

        async def closed() -> dict[str, Any] | None:
            stats = await self.stats()
            return None if stats["open"] else stats

        found: dict[str, Any] = await until(closed)
        return found


@asynccontextmanager
async def demo_model() -> AsyncIterator[DemoModel]:
    """The demo model on a free port."""
    async with serving_model() as url, aiohttp.ClientSession() as http:
        yield DemoModel(url, http)


class Backend:
    """One Redis as the API sees it: submits jobs and reads them."""

    def __init__(self, settings: Settings, redis: ArqRedis) -> None:
        self.settings = settings
        self.keys = settings.keys
        self.redis = redis
        self.log = Log(RedisFacade(redis, settings), settings)
        self.index = JobIndex(RedisFacade(redis, settings), settings)
        self.registry = WorkerRegistry(RedisFacade(redis, settings), settings)
        self.queue = Queue(RedisFacade(redis, settings), settings)
        self.threads = ThreadStore(RedisFacade(redis, settings), settings)
        self.turns = Turns(self.log, self.queue, self.index, self.threads)

    async def write(self, model: str = "demo", *, age: float = 0, for_watchers: bool = False, **body: Any) -> str:
        """Writes a job that is `age` seconds old, as the first half of a submit does. Returns its id.

        `for_watchers`: the job is cancelled when its watchers have left.
        """
        job_id = new_job_id()
        now = await self.index.now() - int(age * 1000)
        request = orjson.dumps({"messages": ASKED, "model": model, **body})
        terms = JobOptions(cancel_on_disconnect=for_watchers)
        await self.log.submit(Submission(job_id, model, request, b"{}", "digest", now, terms=terms, keep_request=True))
        return job_id

    async def submit(
        self,
        model: str = "demo",
        *,
        rate: float | None = None,
        age: float = 0,
        for_watchers: bool = False,
        **body: Any,
    ) -> str:
        """Submits a job. `rate`: tokens a second; `demo` in `body` holds the demo model's other options."""
        if rate is not None:
            body["demo"] = {"tokens_per_second": rate, "first_token_seconds": 0, **body.get("demo", {})}
        job_id = await self.write(model, age=age, for_watchers=for_watchers, **body)
        record = await self.record(job_id)
        await self.queue.enqueue(job_id, record.created_at, model=model, watched=for_watchers)
        return job_id

    async def events(self, job_id: str) -> list[Event]:
        return await self.log.read(job_id, 0, 100_000)

    async def record(self, job_id: str) -> Record:
        record = await self.log.record(job_id)
        assert record is not None
        return record

    async def has(self, job_id: str, kind: str, count: int = 1, within: float = WITHIN) -> list[Event]:
        """Waits for `count` events of a type. Returns the log."""

        async def there() -> list[Event]:
            events = await self.events(job_id)
            return events if types(events).count(kind) >= count else []

        events: list[Event] = await until(there, within=within)
        return events

    async def ended(self, job_id: str, within: float = WITHIN, *, known: bool = True) -> list[Event]:
        """Waits until the job has ended, and has left the queue and the open jobs. Returns its log, checked.

        `known`: the log holds only types of this version.
        """

        async def there() -> list[Event]:
            newest = await self.log.newest(job_id, 1)
            return newest if newest and newest[0].terminal else []

        await until(there, within=within)
        await until(lambda: self.is_closed(job_id), within=within)
        events = await self.events(job_id)
        if known:
            check_order(events)
        else:
            check_log(events)
        assert (await self.record(job_id)).last_seq == len(events)
        return events

    async def is_closed(self, job_id: str) -> bool:
        """Whether neither the queue nor the list of open jobs names the job."""
        left = await self.redis.exists(
            self.keys.arq_job(job_id), self.keys.arq_in_progress(job_id), self.keys.arq_retry(job_id)
        )
        queued = await self.redis.zscore(self.keys.queue, job_id)
        opened = await self.redis.zscore(self.keys.active, job_id)
        return not left and queued is None and opened is None


class Working:
    """A worker at work in this process."""

    def __init__(self, worker: QueueWorker, task: asyncio.Task[None]) -> None:
        self.worker = worker
        self.task = task

    @property
    def runs(self) -> dict[str, Any]:
        """Returns its attempts by job id."""
        return self.worker._runner.attempts

    async def stop(self) -> None:
        """Drains and ends, as SIGTERM does."""
        self.worker.stop()
        await self.task


@asynccontextmanager
async def working(settings: Settings, name: str = "w1") -> AsyncIterator[Working]:
    """A worker for the providers of environment and settings; at the end it is stopped and leaves nothing behind."""
    providers = Providers.from_settings(settings)
    worker = QueueWorker(settings, RedisFacade.connect(settings), providers, {"id": name, "host": "h", "pid": 1})
    task = asyncio.create_task(worker.async_run(), name=f"worker {name}")
    one = Working(worker, task)
    try:
        yield one
        await one.stop()
        assert not one.runs
        assert not worker.tasks
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await worker.close()
        assert await providers.close()


def text_of(events: Sequence[Event], choice: int = 0) -> str:
    """Returns the content of the last attempt."""
    pieces: list[str] = []
    for event in events:
        if event.type == "restarted":
            pieces.clear()
        elif event.type == "content" and event.fields().get("choice", 0) == choice:
            pieces.append(event.fields()["content"])
    return "".join(pieces)


def check_order(events: Sequence[Event]) -> None:
    """Checks numbers 1, 2, 3, … and types: queued, started, the model's, one end; or queued and the end alone."""
    check_log(events)
    names = types(events)
    assert names[0] == "queued"
    assert names[-1] in TERMINAL
    if names not in (["queued", "cancelled"], ["queued", "failed"]):
        assert names[1] == "started"
        between = TEXT | {"tool_call_delta", "tool_call", "function_call", "restarted", "waiting"}
        assert set(names[2:-1]) <= between


@asynccontextmanager
async def demo_at(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DemoModel]:
    """Runs a demo model that the workers of this test reach."""
    async with demo_model() as demo:
        monkeypatch.setenv("OPENAI_BASE_URL", demo.url)
        yield demo
