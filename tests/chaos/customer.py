"""One wish fulfilled: submits the job until it is answered, brings its readers, cancels or erases it if so wished."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from random import Random
from typing import Final

from redis.exceptions import RedisError

from tests.chaos.cluster import Cluster
from tests.chaos.history import History
from tests.chaos.reader import Reader
from tests.chaos.wish import Cancel, Reading, Wish
from tests.support.client import Answer, Cut, Response, call

#: Seconds that a client waits for an answer before it asks again.
_PATIENCE: Final = 8.0
_PAUSES: Final = (0.1, 1.0)
#: What is said of a job that was erased.
_GONE: Final = (404, 410)


class Customer:
    def __init__(self, history: History, cluster: Cluster, wish: Wish, dice: Random) -> None:
        self._history = history
        self._urls = cluster.urls
        self._redis = cluster.redis
        self._keys = cluster.stack.keys
        self._wish = wish
        self._dice = dice
        #: Answers to its `POST /chat/stream`, each with the replica that gave it.
        self._streams: list[tuple[int, Response]] = []
        #: Each of its submits was answered as it should be. Of another one a copy may be on its way, and may make the
        #: job again after it was erased.
        self._sure = True
        self._erased = cluster.erased
        self._recent = cluster.recent

    async def run(self) -> None:
        """Returns when all that was wished has come about."""
        submit = self._chat if self._wish.chat else self._submit
        async with asyncio.TaskGroup() as group:
            submits = [group.create_task(submit()) for _ in range(self._wish.at_once)]
        job_id = submits[0].result()
        if job_id is None:
            return
        self._recent.append(job_id)
        readings = list(self._wish.readings)
        async with asyncio.TaskGroup() as group:
            if self._streams:
                first = replace(readings.pop(0), join=0.0, after=0)
                for stream in self._streams:
                    own = Random(self._dice.getrandbits(64))
                    reader = Reader(self._history, self._urls, job_id, first, own, stream=stream)
                    group.create_task(reader.run())
            for reading in readings:
                group.create_task(self._watch(job_id, reading, Random(self._dice.getrandbits(64))))
            for cancel in self._wish.cancels:
                group.create_task(self._cancel(job_id, cancel))
            if self._wish.erase is not None and self._sure:
                group.create_task(self._erase(job_id, self._wish.erase))

    async def _submit(self) -> str | None:
        """The job's id; None if it was refused, which is a trouble."""
        while True:
            replica = self._dice.randrange(len(self._urls))
            answer = await self._ask(replica, "/v1/jobs", self._wish.body, {"Idempotency-Key": self._wish.key})
            status = None if answer is None else answer.status
            job_id = str(answer.json()["id"]) if answer is not None and status == 202 else None
            if self._submitted("jobs", replica, status, job_id):
                return job_id
            await asyncio.sleep(self._dice.uniform(*_PAUSES))

    async def _chat(self) -> str | None:
        """As `_submit`, by `POST /chat/stream`."""
        while True:
            replica = self._dice.randrange(len(self._urls))
            response = await self._open_chat(replica)
            status = None if response is None else response.status
            job_id = response.headers["x-job-id"] if response is not None and status == 200 else None
            if response is not None and job_id is not None:
                self._streams.append((replica, response))
            elif response is not None:
                response.abort()
            if self._submitted("chat", replica, status, job_id):
                return job_id
            await asyncio.sleep(self._dice.uniform(*_PAUSES))

    def _submitted(self, via: str, replica: int, status: int | None, job_id: str | None) -> bool:
        """Writes a submit down; answers whether it was the last."""
        wish = self._wish
        fields = {"tag": wish.tag, "key": wish.key, "via": via, "replica": replica, "terms": wish.terms}
        self._history.client("submit", **fields, status=status, job=job_id)
        self._sure = self._sure and job_id is not None
        refused = job_id is None and status not in (None, 429, 503)
        if refused:
            self._history.trouble(f"{wish.tag} was refused: {status}")
        return refused or job_id is not None

    async def _watch(self, job_id: str, reading: Reading, dice: Random) -> None:
        await asyncio.sleep(reading.join)
        await Reader(self._history, self._urls, job_id, reading, dice).run()

    async def _cancel(self, job_id: str, cancel: Cancel) -> None:
        await asyncio.sleep(cancel.wait)
        how = self._cancel_by_hand if cancel.via == "redis" else self._cancel_by_call
        async with asyncio.TaskGroup() as group:
            for _ in range(cancel.times):
                group.create_task(how(job_id))

    async def _cancel_by_call(self, job_id: str) -> None:
        status = None
        while status != 202:
            replica = self._dice.randrange(len(self._urls))
            answer = await self._ask(replica, f"/v1/jobs/{job_id}/cancel")
            status = None if answer is None else answer.status
            self._history.client("cancel", job=job_id, via="api", replica=replica, status=status)
            if status in _GONE:  # somebody erased it, or the checker has a word to say
                return
            if status not in (None, 202, 503):
                self._history.trouble(f"a cancel of {job_id} was refused: {status}")
                return
            if status != 202:
                await asyncio.sleep(self._dice.uniform(*_PAUSES))

    async def _erase(self, job_id: str, wait: float) -> None:
        await asyncio.sleep(wait)
        status = None
        while status != 204 and status not in _GONE:
            replica = self._dice.randrange(len(self._urls))
            asked = time.time()
            answer = await self._ask(replica, f"/v1/jobs/{job_id}", method="DELETE")
            status = None if answer is None else answer.status
            self._history.client("erase", job=job_id, asked=asked, replica=replica, status=status)
            if status not in (None, 204, 503, *_GONE):
                self._history.trouble(f"an erase of {job_id} was refused: {status}")
                return
            if status in (None, 503):
                await asyncio.sleep(self._dice.uniform(*_PAUSES))
        self._erased.add(job_id)

    async def _cancel_by_hand(self, job_id: str) -> None:
        """As somebody with redis-cli does: past the proxies, and past the API."""
        done = False
        while not done:
            try:
                done = bool(await self._redis.set(self._keys.cancel(job_id), "chaos, by hand"))
            except (RedisError, OSError):
                await asyncio.sleep(self._dice.uniform(*_PAUSES))
            self._history.client("cancel", job=job_id, via="redis", replica=None, status=202 if done else None)

    async def _open_chat(self, replica: int) -> Response | None:
        """The answer to a `POST /chat/stream`, to be read; None if none came."""
        raw = json.dumps(self._wish.body).encode()
        headers = {"Idempotency-Key": self._wish.key}
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
        """The answer; None if none came."""
        try:
            async with asyncio.timeout(_PATIENCE):
                return await call(method, self._urls[replica] + path, body, headers)
        except (OSError, Cut, TimeoutError):
            return None
