"""Clients that attack: each way of docs/security.md to harm other clients, at random and bounded."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

from tests.chaos.cluster import Cluster
from tests.chaos.history import History
from tests.chaos.plan import MAX_BODY_BYTES, REQUEST_TIMEOUT
from tests.support.client import Cut, Response

#: Concurrent attackers, and the seconds between two attacks of one.
_AT_ONCE: Final = 3
_PAUSES: Final = (0.1, 1.2)
#: Seconds that an attacker waits for a response.
_PATIENCE: Final = 8.0
#: Far more than the API reads of a body that continues after its 413, and than buffers hold.
_GOES_ON: Final = 12 * MAX_BODY_BYTES
_NO_JOB: Final = "A" * 22
_HOST: Final = "Host: localhost\r\n"
_MESSAGES: Final = '{"messages":[{"role":"user","content":"%s"}]%s}'
#: Bodies, built once: building them for each attack would block the loop's other clients.
_ITEMS: Final = [
    '{"messages":[' + ",".join([item] * (MAX_BODY_BYTES // (2 * len(item) + 2))) + "]}"
    for item in ("1", "{}", '{"role":7}', '"x"')
]
#: Valid but for its last field: the API reads and checks all of it, and creates no job.
_LARGE: Final = _MESSAGES % ("x" * (MAX_BODY_BYTES - 200), ',"deadline":-1')
_VALUES: Final = [
    _MESSAGES % ("x", f',"more":{more}') for more in ("[" * 100_000 + "]" * 100_000, "[" + "[]," * 600_000 + "[]]")
]

#: The received statuses (None for no response), and additional fields of the history's line.
Outcome = tuple[list[int | None], dict[str, Any]]
Attack = Callable[[int, Random], Coroutine[Any, Any, Outcome]]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Attacker:
    """`run` attacks until it is cancelled, and writes the outcomes to the history's lines `attack`."""

    def __init__(self, history: History, cluster: Cluster, rng: Random) -> None:
        self._history = history
        self._cluster = cluster
        self._rng = rng
        self._numbers = count(1)
        self._attacks: dict[str, Attack] = {
            "items": self._items,
            "large": self._large,
            "values": self._values,
            "goes-on": self._goes_on,
            "pipelined": self._pipelined,
            "dribble": self._dribble,
            "silent": self._silent,
            "deaf": self._deaf,
            "storm": self._storm,
            "two-ways": self._two_ways,
            "foreign-host": self._foreign_host,
            "foreign-origin": self._foreign_origin,
            "position": self._position,
            "no-job": self._no_job,
            "other-body": self._other_body,
            "wild": self._wild,
        }

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._attack_on())

    async def _attack_on(self) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(*_PAUSES))
            name = self._rng.choice(list(self._attacks))
            replica = self._rng.randrange(len(self._cluster.urls))
            own = Random(self._rng.getrandbits(64))
            began = time.time()
            statuses, more = await self._attacks[name](replica, own)
            self._history.client("attack", attack=name, replica=replica, began=began, statuses=statuses, **more)

    async def _items(self, replica: int, rng: Random) -> Outcome:
        return [await self._post(replica, rng.choice(_ITEMS))], {}

    async def _large(self, replica: int, _: Random) -> Outcome:
        return [await self._post(replica, _LARGE)], {}

    async def _values(self, replica: int, rng: Random) -> Outcome:
        return [await self._post(replica, rng.choice(_VALUES))], {}

    async def _goes_on(self, replica: int, _: Random) -> Outcome:
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        sent, closed, status = 0, False, None
        async with self._connected(replica) as connection:
            if connection is None:
                return [None], {"closed": True, "sent": 0}
            reader, writer = connection
            answer = asyncio.create_task(_status_of(reader))
            writer.write(f"POST /v1/jobs HTTP/1.1\r\n{_HOST}Transfer-Encoding: chunked\r\n\r\n".encode())
            try:
                async with asyncio.timeout(2 * _PATIENCE):
                    while sent < _GOES_ON:
                        writer.write(chunk)
                        await writer.drain()
                        sent += len(chunk)
            except OSError:  # TimeoutError is an OSError
                closed = sent < _GOES_ON
            status = await answer
        return [status], {"closed": closed, "sent": sent}

    async def _pipelined(self, replica: int, rng: Random) -> Outcome:
        """Pipelines requests and reads no response."""
        async with self._connected(replica) as connection:
            if connection is not None:
                path = rng.choice(("/v1/jobs?limit=200", "/healthz", "/openapi.json"))
                connection[1].write(f"GET {path} HTTP/1.1\r\n{_HOST}\r\n".encode() * 2_000)
                await asyncio.sleep(rng.uniform(1, 4))
        return [], {}

    async def _dribble(self, replica: int, rng: Random) -> Outcome:
        """Sends a head or a body byte by byte, for longer than the request time-out."""
        begun = rng.choice(
            (
                f"GET /healthz HTTP/1.1\r\n{_HOST}A: ",
                f"POST /v1/jobs HTTP/1.1\r\n{_HOST}Content-Type: application/json\r\nContent-Length: 9999\r\n\r\n",
            )
        )
        until = time.monotonic() + 2 * REQUEST_TIMEOUT
        async with self._connected(replica) as connection:
            if connection is None:
                return [], {"closed": True}
            reader, writer = connection
            writer.write(begun.encode())
            while time.monotonic() < until and not (writer.is_closing() or reader.at_eof()):
                writer.write(b"a")
                with suppress(TimeoutError, ConnectionError):
                    async with asyncio.timeout(0.3):
                        await reader.read(4096)
            return [], {"closed": writer.is_closing() or reader.at_eof()}

    async def _silent(self, replica: int, rng: Random) -> Outcome:
        async with AsyncExitStack() as exits:
            for _ in range(100):
                await exits.enter_async_context(self._connected(replica))
            await asyncio.sleep(rng.uniform(1, 6))
        return [], {}

    async def _deaf(self, replica: int, rng: Random) -> Outcome:
        """Opens watchers of one job that never read."""
        async with AsyncExitStack() as exits:
            path = f"/v1/jobs/{self._job(rng)}/events"
            for _ in range(20):
                connection = await exits.enter_async_context(self._connected(replica))
                if connection is not None:
                    connection[1].write(f"GET {path} HTTP/1.1\r\n{_HOST}\r\n".encode())
            await asyncio.sleep(rng.uniform(1, 8))
        return [], {}

    async def _storm(self, replica: int, rng: Random) -> Outcome:
        paths = ("/v1/jobs?limit=200", "/v1/jobs?status=running", f"/v1/jobs/{self._job(rng)}", "/readyz")
        asks = [self._ask(replica, f"GET {rng.choice(paths)} HTTP/1.1\r\n{_HOST}\r\n") for _ in range(60)]
        return sorted({*await asyncio.gather(*asks)}, key=str), {}

    async def _two_ways(self, replica: int, rng: Random) -> Outcome:
        head = rng.choice(
            (
                "GET /v1/jobs HTTP/1.1\r\n",
                f"GET /v1/jobs HTTP/1.1\r\n{_HOST}{_HOST}",
                f"GET /v1/jobs/{_NO_JOB}%2Fevents HTTP/1.1\r\n{_HOST}",
                f"POST /v1/jobs HTTP/1.1\r\n{_HOST}Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 0\r\n",
                f"GET /v1/jobs/{_NO_JOB}/events HTTP/1.1\r\n{_HOST}Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n",
                f"POST /v1/jobs HTTP/1.1\r\n{_HOST}Transfer-Encoding: gzip, chunked\r\n",
                f"POST /v1/jobs HTTP/1.1\r\n{_HOST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            )
        )
        return [await self._ask(replica, head + "\r\n")], {}

    async def _foreign_host(self, replica: int, rng: Random) -> Outcome:
        path = rng.choice(("GET /v1/jobs", f"DELETE /v1/jobs/{self._job(rng)}", "GET /"))
        return [await self._ask(replica, f"{path} HTTP/1.1\r\nHost: evil.example\r\n\r\n")], {}

    async def _foreign_origin(self, replica: int, rng: Random) -> Outcome:
        job = self._job(rng)
        line = rng.choice((f"DELETE /v1/jobs/{job}", f"POST /v1/jobs/{job}/cancel"))
        origin = rng.choice(("https://evil.example", "null"))
        return [
            await self._ask(replica, f"{line} HTTP/1.1\r\n{_HOST}Origin: {origin}\r\nContent-Length: 0\r\n\r\n")
        ], {}

    async def _position(self, replica: int, rng: Random) -> Outcome:
        position = rng.choice(("-1", "1e9", "x", "9" * 40, "1-", "1-?", "0x10"))
        how = rng.choice(
            (f"?after={position} HTTP/1.1\r\n{_HOST}", f" HTTP/1.1\r\n{_HOST}Last-Event-ID: {position}\r\n")
        )
        return [await self._ask(replica, f"GET /v1/jobs/{self._job(rng)}/events{how}\r\n")], {}

    async def _no_job(self, replica: int, rng: Random) -> Outcome:
        job = rng.choice((_NO_JOB, "1", "x" * 3_000, "%00", "..%5c..", "{}", "*"))
        line = rng.choice((f"DELETE /v1/jobs/{job}", f"POST /v1/jobs/{job}/cancel", f"GET /v1/jobs/{job}/events"))
        return [await self._ask(replica, f"{line} HTTP/1.1\r\n{_HOST}Content-Length: 0\r\n\r\n")], {}

    async def _other_body(self, replica: int, rng: Random) -> Outcome:
        """Submits a job, and another body with its key. The history has a line `submit` for each."""
        tag = f"h{next(self._numbers)}"
        key = f"{tag}-{rng.getrandbits(32):08x}"
        demo = {"key": tag, "tokens": 3}
        body = {"model": "demo-numbered", "messages": [{"role": "user", "content": tag}], "demo": demo}
        first, job = await self._submit(replica, tag, key, body)
        if first != 202:
            return [], {}
        asked = time.time()
        second, made = await self._submit(replica, tag, key, {**body, "temperature": 1})
        return [second], {"job": job, "made": made, "asked": asked}

    async def _wild(self, replica: int, rng: Random) -> Outcome:
        wild = rng.randbytes(rng.choice((1, 80, 5_000, 200_000)))
        return [await self._ask(replica, rng.choice((b"", b"GET ", b"POST /v1/jobs HTTP/1.1\r\nHost: ")) + wild)], {}

    def _job(self, rng: Random) -> str:
        return rng.choice([*self._cluster.recent, _NO_JOB])

    async def _submit(self, replica: int, tag: str, key: str, body: dict[str, Any]) -> tuple[int | None, str | None]:
        """Returns the status and the job's id."""
        status, job = None, None
        try:
            async with asyncio.timeout(_PATIENCE):
                url = self._cluster.urls[replica] + "/v1/jobs"
                raw = json.dumps(body).encode()
                async with await Response.open("POST", url, raw, {"Idempotency-Key": key}) as response:
                    whole = b"".join([piece async for piece in response.pieces()])
                    status = response.status
                    job = str(json.loads(whole)["id"]) if status == 202 else None
        except (OSError, Cut):  # the API may be down; TimeoutError is an OSError
            status = None
        if status != 409:
            fields = {"tag": tag, "key": key, "via": "jobs", "replica": replica, "terms": {}}
            self._history.client("submit", **fields, status=status, job=job)
        return status, job

    async def _post(self, replica: int, body: str) -> int | None:
        head = f"POST /v1/jobs HTTP/1.1\r\n{_HOST}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return await self._ask(replica, head + body)

    async def _ask(self, replica: int, request: str | bytes) -> int | None:
        """Sends it and returns the response's status; None without a response, or if it is no HTTP."""
        async with self._connected(replica) as connection:
            if connection is None:
                return None
            connection[1].write(request.encode() if isinstance(request, str) else request)
            return await _status_of(connection[0])

    @asynccontextmanager
    async def _connected(self, replica: int) -> AsyncIterator[Connection | None]:
        """Yields a connection and aborts it at the end; None if the API does not listen."""
        parts = urlsplit(self._cluster.urls[replica])
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError:
            yield None
            return
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def _status_of(reader: asyncio.StreamReader) -> int | None:
    line = b""
    with suppress(OSError, ValueError):  # TimeoutError is an OSError; a line without an end is no status
        async with asyncio.timeout(_PATIENCE):
            line = await reader.readline()
    return int(line.split(b" ")[1]) if line.startswith(b"HTTP/1.1 ") else None
