"""The calls of one API, with their retries, in an event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import httpx2

from readalong.client import requests
from readalong.client.calls import STOP_SECONDS
from readalong.client.errors import ClientError, MisuseError
from readalong.client.job import Job
from readalong.client.requests import Request
from readalong.client.retry import Replicas, Retry
from readalong.client.transport import BROKEN, ClientOptions, connection_error, sending

_log: Final = logging.getLogger("readalong.client")


class AsyncCalls:
    """Belongs to the event loop of its first call."""

    def __init__(self, replicas: Replicas, options: ClientOptions, http: httpx2.AsyncClient) -> None:
        self.replicas = replicas
        self.options = options
        self.http = http
        self.closed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Cancels that outlive the task which left.
        self._stopping: set[asyncio.Task[None]] = set()

    def check_open(self) -> None:
        """Raises MisuseError after `aclose`, and in another loop than before: connections belong to one."""
        if self.closed.is_set():
            raise MisuseError("This client is closed.")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise MisuseError("This client belongs to another event loop: make one client in each.")

    async def body(self, request: Request, retry: Retry | None = None) -> tuple[str, bytes]:
        """Returns the base URL that responded, and the body of the success. Raises ClientError."""
        self.check_open()
        retry = retry or Retry(self.replicas)
        while True:
            url = retry.url
            error: ClientError
            try:
                with sending():
                    response = await self.http.request(**self.options.arguments(url, request))
            except BROKEN as broken:
                self.check_open()
                error = connection_error(url, broken)
            else:
                retry.reached()
                found = requests.error_of(url, response.status_code, response.headers, response.content)
                if found is None:
                    retry.succeeded()
                    return url, response.content
                error = found
            await wait(self.closed, retry.failed(error))
            self.check_open()

    async def json(self, request: Request) -> Mapping[str, Any]:
        """Returns the JSON object of the success."""
        url, body = await self.body(request)
        return requests.json_of(url, request, body)

    async def job(self, request: Request) -> Job:
        """Returns the job of the success."""
        url, body = await self.body(request)
        return requests.job_of(url, request, body)

    async def erase(self, request: Request) -> None:
        retry = Retry(self.replicas)
        try:
            await self.body(request, retry)
        except ClientError as error:
            if not requests.erased(error, retry.tries):
                raise

    async def stop(self, job_id: str) -> None:
        """Cancels a job whose reader leaves, also when its task is being cancelled, and cancelled again."""
        task = asyncio.ensure_future(self._stop(job_id))
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)
        await asyncio.shield(task)

    async def stopped(self) -> None:
        """Returns when all cancels of `stop` are sent."""
        await asyncio.gather(*self._stopping)

    async def _stop(self, job_id: str) -> None:
        request = requests.cancel(job_id)
        for url in self.replicas.urls:
            try:
                arguments = self.options.arguments(url, request)
                with sending():
                    response = await self.http.request(**{**arguments, "timeout": STOP_SECONDS})
            except BROKEN as broken:
                _log.info("the cancel of %s was not heard: %s", job_id, broken)
            else:
                if response.status_code < 500:
                    return


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Returns after so many seconds, or when the event is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
