"""Carries out one client plan: submits the job until it gets a response, starts its readers, cancels or erases it."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from dataclasses import replace
from random import Random
from typing import Final

from redis.exceptions import RedisError

from tests.chaos.client_plan import FACES, Cancel, ClientPlan, Reading
from tests.chaos.cluster import Cluster
from tests.chaos.face_client import FaceClient
from tests.chaos.face_reader import FaceReader
from tests.chaos.history import History
from tests.chaos.library_reader import LibraryReader
from tests.chaos.node_reader import NodeReader
from tests.chaos.reader import Reader
from tests.support.client import Answer, Cut, Response, call

#: Seconds that a client waits for a response before it asks again.
_PATIENCE: Final = 8.0
_PAUSES: Final = (0.1, 1.0)
_HAS_NODE: Final = shutil.which("node") is not None
#: The statuses of an erased job.
_GONE: Final = (404, 410)


class JobClient:
    def __init__(self, history: History, cluster: Cluster, plan: ClientPlan, rng: Random) -> None:
        self._history = history
        self._urls = cluster.urls
        self._redis = cluster.redis
        self._keys = cluster.stack.keys
        self._plan = plan
        self._rng = rng
        #: Responses to its `POST /chat/stream`, each with its replica.
        self._streams: list[tuple[int, Response]] = []
        #: Whether each of its submits got a proper response. A copy of another one may be on its way, and may create
        #: the job again after its erase.
        self._sure = True
        self._erased = cluster.erased
        self._recent = cluster.recent

    async def run(self) -> None:
        """Returns when the plan is carried out."""
        submit = {"jobs": self._submit, "chat": self._chat}.get(self._plan.via, self._face)
        async with asyncio.TaskGroup() as group:
            submits = [group.create_task(submit()) for _ in range(self._plan.at_once)]
        job_id = submits[0].result()
        if job_id is None:
            return
        self._recent.append(job_id)
        readings = list(self._plan.readings)
        async with asyncio.TaskGroup() as group:
            if self._streams:
                first = replace(readings.pop(0), join=0.0, after=0)
                for stream in self._streams:
                    own = Random(self._rng.getrandbits(64))
                    group.create_task(self._reader(job_id, first, own, stream).run())
            for reading in readings:
                group.create_task(self._watch(job_id, reading, Random(self._rng.getrandbits(64))))
            for cancel in self._plan.cancels:
                group.create_task(self._cancel(job_id, cancel))
            if self._plan.erase is not None and self._sure:
                group.create_task(self._erase(job_id, self._plan.erase))

    async def _submit(self) -> str | None:
        """Returns the job's id; None if the submit was refused, which is a trouble."""
        while True:
            replica = self._rng.randrange(len(self._urls))
            answer = await self._ask(replica, "/v1/jobs", self._plan.body, {"Idempotency-Key": self._plan.key})
            status = None if answer is None else answer.status
            job_id = str(answer.json()["id"]) if answer is not None and status == 202 else None
            if self._submitted("jobs", replica, status, job_id):
                return job_id
            await asyncio.sleep(self._rng.uniform(*_PAUSES))

    async def _chat(self) -> str | None:
        """Like `_submit`, by `POST /chat/stream`."""
        while True:
            replica = self._rng.randrange(len(self._urls))
            response = await self._open_chat(replica)
            status = None if response is None else response.status
            job_id = response.headers["x-job-id"] if response is not None and status == 200 else None
            if response is not None and job_id is not None:
                self._streams.append((replica, response))
            elif response is not None:
                response.abort()
            if self._submitted("chat", replica, status, job_id):
                return job_id
            await asyncio.sleep(self._rng.uniform(*_PAUSES))

    async def _face(self) -> str | None:
        """Like `_submit`, by a face."""
        client = FaceClient(self._history, self._urls, self._plan, self._rng)
        job_id = await client.run()
        self._sure = self._sure and client.sure
        if client.stream is not None:
            self._streams.append(client.stream)
        return job_id

    def _reader(
        self, job_id: str, reading: Reading, rng: Random, stream: tuple[int, Response] | None = None
    ) -> Reader | LibraryReader | NodeReader:
        """Half of a face's readers speak the face. OpenAI's chat completions are read once, by their submit. A third of
        the others are the client library, and one in twenty is that of JavaScript where there is Node."""
        plan = self._plan
        if plan.via in FACES and (stream is not None or (plan.via != "openai" and rng.random() < 0.5)):
            return FaceReader(self._history, self._urls, job_id, reading, rng, plan=plan, stream=stream)
        if stream is None and rng.random() < 1 / 3:
            return LibraryReader(self._history, self._urls, job_id, reading, rng)
        if stream is None and _HAS_NODE and rng.random() < 1 / 20:
            return NodeReader(self._history, self._urls, job_id, reading, rng)
        return Reader(self._history, self._urls, job_id, reading, rng, stream=stream)

    def _submitted(self, via: str, replica: int, status: int | None, job_id: str | None) -> bool:
        """Writes a submit to the history; returns whether it was the last."""
        plan = self._plan
        fields = {"tag": plan.tag, "key": plan.key, "via": via, "replica": replica, "terms": plan.terms}
        self._history.client("submit", **fields, status=status, job=job_id)
        self._sure = self._sure and job_id is not None
        refused = job_id is None and status not in (None, 429, 503)
        if refused:
            self._history.trouble(f"{plan.tag} was refused: {status}")
        return refused or job_id is not None

    async def _watch(self, job_id: str, reading: Reading, rng: Random) -> None:
        await asyncio.sleep(reading.join)
        await self._reader(job_id, reading, rng).run()

    async def _cancel(self, job_id: str, cancel: Cancel) -> None:
        await asyncio.sleep(cancel.wait)
        how = self._cancel_by_hand if cancel.via == "redis" else self._cancel_by_call
        async with asyncio.TaskGroup() as group:
            for _ in range(cancel.times):
                group.create_task(how(job_id))

    async def _cancel_by_call(self, job_id: str) -> None:
        status = None
        path = self._cancel_path(job_id)
        while status != 202:
            replica = self._rng.randrange(len(self._urls))
            answer = await self._ask(replica, path)
            status = None if answer is None else answer.status
            if status == 200:  # a face's way to say it
                status = 202
            self._history.client("cancel", job=job_id, via="api", replica=replica, status=status)
            over = status == 400 and path.startswith("/v1/responses/")
            if status in _GONE or over:  # the job was erased, or has ended, or the checker reports it
                return
            if status not in (None, 202, 503):
                self._history.trouble(f"a cancel of {job_id} was refused: {status}")
                return
            if status != 202:
                await asyncio.sleep(self._rng.uniform(*_PAUSES))

    def _cancel_path(self, job_id: str) -> str:
        if self._plan.via == "ai_sdk" and self._rng.random() < 0.5:
            return f"/api/chat/{job_id}/stop"
        if self._plan.via == "responses" and self._plan.background and self._rng.random() < 0.5:
            return f"/v1/responses/resp_{job_id}/cancel"
        return f"/v1/jobs/{job_id}/cancel"

    async def _erase(self, job_id: str, wait: float) -> None:
        await asyncio.sleep(wait)
        status = None
        while status != 204 and status not in _GONE:
            replica = self._rng.randrange(len(self._urls))
            asked = time.time()
            answer = await self._ask(replica, f"/v1/jobs/{job_id}", method="DELETE")
            status = None if answer is None else answer.status
            self._history.client("erase", job=job_id, asked=asked, replica=replica, status=status)
            if status not in (None, 204, 503, *_GONE):
                self._history.trouble(f"an erase of {job_id} was refused: {status}")
                return
            if status in (None, 503):
                await asyncio.sleep(self._rng.uniform(*_PAUSES))
        self._erased.add(job_id)

    async def _cancel_by_hand(self, job_id: str) -> None:
        """Sets the flag as with redis-cli: past the proxies, and past the API."""
        done = False
        while not done:
            try:
                done = bool(await self._redis.set(self._keys.cancel(job_id), "chaos, by hand"))
            except (RedisError, OSError):
                await asyncio.sleep(self._rng.uniform(*_PAUSES))
            self._history.client("cancel", job=job_id, via="redis", replica=None, status=202 if done else None)

    async def _open_chat(self, replica: int) -> Response | None:
        """Returns the open response to a `POST /chat/stream`; None without one."""
        raw = json.dumps(self._plan.body).encode()
        headers = {"Idempotency-Key": self._plan.key}
        try:
            async with asyncio.timeout(_PATIENCE):
                return await Response.open("POST", self._urls[replica] + "/chat/stream?restarted=true", raw, headers)
        except (OSError, Cut, TimeoutError):
            return None

    async def _ask(
        self,
        replica: int,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        *,
        method: str = "POST",
    ) -> Answer | None:
        """Returns the response; None without one."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await call(method, self._urls[replica] + path, body, headers)
        except (OSError, Cut, TimeoutError):
            return None
