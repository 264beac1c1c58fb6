"""The server side of the page. The test plays the worker: it decides the model's text and its timing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from threading import Thread
from typing import Any, Self

import httpx2
import orjson
from pydantic import AnyUrl

from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.redis.client import connect
from readalong.redis.facade import RedisFacade
from readalong.store.job_index import JobIndex
from readalong.store.log import Log, encode
from readalong.store.queue import Queue
from readalong.store.worker_registry import WorkerRegistry
from tests.support.servers import RedisServer, free_port

_READY_WITHIN = 120.0  # seconds
_WORKER = {"id": "cedar-4711-9f3a", "host": "cedar", "pid": 4711}
METRICS = {
    "queue_seconds": 0.002,
    "time_to_first_token": 0.412,
    "time_to_first_token_from_call": 0.4,
    "total_seconds": 2.5,
    "chunk_count": 80,
    "tokens_per_second": 34.7,
}


class Site:
    """An API process on a Redis of its own. `job` gives a pen that writes the log of a job."""

    def __init__(self, *, aof: bool = True) -> None:
        self._redis = RedisServer.start(aof=aof)
        # A thread of its own: Playwright's event loop runs in the test's.
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="site", daemon=True)
        self._thread.start()
        self._port = free_port()
        self.settings = settings = Settings(redis_url=AnyUrl(self._redis.url))
        self.client = self.run(_made(lambda: connect(settings)))
        self.log = Log(RedisFacade(self.client, settings), settings)
        self.queue = Queue(
            RedisFacade(self.client, settings.model_copy(update={"lease": 600})),
            settings.model_copy(update={"lease": 600}),
        )
        self.run(
            self._sign_of_life(
                JobIndex(RedisFacade(self.client, settings), settings),
                WorkerRegistry(RedisFacade(self.client, settings), settings),
            )
        )
        self._api = self._launch()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def stop_api(self) -> None:
        self._api.terminate()
        self._api.wait(60)

    def start_api(self) -> None:
        """Starts the API at the same address as before."""
        self._api = self._launch()

    def pause_redis(self) -> None:
        self._redis.kill()

    def resume_redis(self) -> None:
        self._redis.restart()

    def get(self, path: str) -> Any:
        return httpx2.get(self.url + path, trust_env=False, verify=False).json()

    def job(self, job_id: str) -> Pen:
        return Pen(self, job_id)

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(100)

    def close(self) -> None:
        self.stop_api()
        self.run(self.client.aclose())
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._redis.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    async def _sign_of_life(index: JobIndex, registry: WorkerRegistry) -> None:
        """Registers the pen as a worker: without one, the page would say that jobs wait for a worker."""
        await registry.heartbeat("pen", b"{}", await index.now(), 600_000)

    def _launch(self) -> subprocess.Popen[bytes]:
        serve = f"run(load(), host='127.0.0.1', port={self._port})"
        code = f"from readalong.api.server import run; from readalong.core.settings import load; {serve}"
        api = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "READALONG_REDIS_URL": self._redis.url})
        deadline = time.monotonic() + _READY_WITHIN
        while True:
            try:
                httpx2.get(f"{self.url}/healthz", trust_env=False, verify=False).raise_for_status()
            except httpx2.TransportError:
                if time.monotonic() > deadline or api.poll() is not None:
                    api.kill()
                    api.wait()
                    raise
                time.sleep(0.02)
            else:
                return api


class Pen:
    """Writes one job's log as its worker would."""

    def __init__(self, site: Site, job_id: str) -> None:
        self._site = site
        self.id = job_id
        self._attempt = 0
        self._next = 0
        self._text = ""

    def claim(self) -> Self:
        """Starts the next attempt, as another worker would after a loss."""
        token = f"{self._attempt + 1}claim of {self.id}"
        self._site.run(self._site.queue.acquire_by_id("pen", self.id))
        claim = self._site.run(self._site.log.claim(self.id, orjson.dumps(_WORKER), token))
        self._attempt, self._next, self._text = claim.attempt, claim.last_seq + 1, ""
        return self

    def say(self, text: str, kind: str = "content", **fields: Any) -> str:
        """Appends a piece of text. Returns the cancel flag."""
        self._text += text if kind == "content" and not fields.get("choice") else ""
        return self.write(NewEvent(kind, {"content": text, **fields}))

    def write(self, *drafts: NewEvent) -> str:
        appended = self._site.run(self._site.log.append(self.id, self._attempt, self._next, encode(list(drafts))))
        self._next = appended.last_seq + 1
        flag: str = appended.cancel_flag
        return flag

    def end(self, kind: str = "done", **fields: Any) -> None:
        """Ends the job: `done`, `failed` or `cancelled`. The event repeats the text, as a worker's does."""
        draft = NewEvent(kind, {"content": self._text, **fields, "metrics": METRICS})
        stored: dict[str, str | bytes | int] = {"metrics": orjson.dumps(METRICS)}
        if "error" in fields:
            stored["error"] = orjson.dumps(fields["error"])
        self._site.run(self._site.log.finish(self.id, self._attempt, self._next, encode([draft]), stored))

    def request(self) -> dict[str, Any]:
        """Returns the request that the page submitted."""
        site = self._site
        raw = site.run(site.client.hget(site.settings.keys.job(self.id), "request"))
        body: dict[str, Any] = orjson.loads(raw)
        return body


async def _made(build: Any) -> Any:
    """Calls `build` inside the loop, for objects that bind themselves to the running loop."""
    return build()
