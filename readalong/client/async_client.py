"""The client of an API, in an event loop."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Self, TypeVar

import httpx2

from readalong.client import requests
from readalong.client.async_calls import AsyncCalls
from readalong.client.async_direct_client import AsyncDirectClient
from readalong.client.async_stream import AsyncApiGeneration, AsyncStream
from readalong.client.async_watch import AsyncWatch
from readalong.client.job import Job
from readalong.client.requests import DISCONNECT_GRACE, Messages
from readalong.client.text_reader import OnRestart
from readalong.client.transport import ClientOptions
from readalong.client.watch_protocol import After, OnTrouble, WatchProtocol

#: The loop itself keeps only weak references to its tasks.
_CLOSING: Final[set[asyncio.Task[None]]] = set()

_Open = TypeVar("_Open", AsyncStream, AsyncWatch)


class AsyncClient:
    """The API at `base_url`, or at any of several replicas. It belongs to one event loop,
    where its calls may come from several tasks at once.

    `base_url`: else the environment's READALONG_URL, else this machine. `api_key`: sent as a bearer token.
    `http_client`: one of your own, for proxies, certificates and the like; you close it. Raises MisuseError for an
    invalid URL.

    Every call is repeated while trouble may pass, for `options.give_up` seconds, and raises ClientError then.
    """

    def __init__(
        self,
        base_url: str | Sequence[str] | None = None,
        *,
        api_key: str | None = None,
        options: ClientOptions | None = None,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        options = options or ClientOptions()
        self._owns_http = http_client is None
        http = http_client or httpx2.AsyncClient(**options.http(api_key))
        self._calls = AsyncCalls(options.replicas(base_url), options, http)
        self._direct: AsyncDirectClient | None = None
        self._open: weakref.WeakSet[AsyncStream | AsyncWatch] = weakref.WeakSet()

    def stream_chat(
        self,
        messages: Messages,
        *,
        model: str | None = None,
        keep_running: bool = False,
        on_restart: OnRestart | None = None,
        on_trouble: OnTrouble | None = None,
        idempotency_key: str | None = None,
        direct: bool = False,
        **parameters: Any,
    ) -> AsyncStream:
        """Returns the stream of a generation: iterate it for text. `messages`: OpenAI's, or one question.

        `keep_running`: the generation goes on when the loop is left. `on_restart` is called when the text so far is
        void; without it a restart after the first text raises GenerationRestarted. `on_trouble` is called with each
        error that is being overcome, and with None afterwards. `direct`: without this API, straight at the model
        (AsyncDirectClient). `parameters`: OpenAI's chat parameters, and readalong's own, such as `metadata`.
        """
        self._calls.check_open()
        if direct:
            self._direct = self._direct or AsyncDirectClient()
            return self._add(self._direct.stream_chat(messages, model=model, on_restart=on_restart, **parameters))
        request = requests.submit(
            messages,
            parameters,
            model=model,
            idempotency_key=idempotency_key,
            cancel_on_disconnect=False if keep_running else DISCONNECT_GRACE,
        )
        generation = AsyncApiGeneration(self._calls, request, keep_running=keep_running, on_trouble=on_trouble)
        return self._add(AsyncStream(generation, on_restart))

    async def submit(
        self, messages: Messages, *, model: str | None = None, idempotency_key: str | None = None, **parameters: Any
    ) -> Job:
        """Submits a job that goes on by itself. The same `idempotency_key` and parameters return the same job."""
        request = requests.submit(messages, parameters, model=model, idempotency_key=idempotency_key)
        return await self._calls.job(request)

    def watch(self, job: Job | str, *, after: After = None, on_trouble: OnTrouble | None = None) -> AsyncWatch:
        """Returns the events of a job: iterate it. `after`: a position or a number; `latest`: from now on."""
        self._calls.check_open()
        return self._add(
            AsyncWatch(self._calls, WatchProtocol(self._calls.replicas, job, after, on_trouble=on_trouble))
        )

    async def job(self, job: Job | str) -> Job:
        """Returns the job as it is now."""
        return await self._calls.job(requests.inspect(job))

    async def jobs(
        self,
        *,
        status: str | None = None,
        model: str | None = None,
        thread: str | None = None,
        metadata: Mapping[str, str] | None = None,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[Job]:
        """Iterates the jobs, newest first, one request a page."""
        request: requests.Request | None = requests.list_jobs(
            status=status,
            model=model,
            thread=thread,
            metadata=metadata,
            created_after=created_after,
            created_before=created_before,
            limit=page_size,
        )
        while request is not None:
            page = await self._calls.json(request)
            for job in requests.jobs_of(page):
                yield job
            request = requests.next_page(request, page)

    async def cancel(self, job: Job | str) -> Job:
        """Cancels a job; one that has ended stays as it is."""
        return await self._calls.job(requests.cancel(job))

    async def erase(self, job: Job | str) -> None:
        """Cancels a job and erases everything that the server holds of it."""
        await self._calls.erase(requests.erase(job))

    async def aclose(self) -> None:
        """Ends all streams, with their generations, and all watches, and closes the connections.

        It goes on when the task that calls it is cancelled.
        """
        task = asyncio.ensure_future(self._close())
        _CLOSING.add(task)
        task.add_done_callback(_CLOSING.discard)
        await asyncio.shield(task)

    async def _close(self) -> None:
        for each in list(self._open):
            await each.aclose()
        await self._calls.stopped()
        if self._direct is not None:
            await self._direct.aclose()
        self._calls.closed.set()
        if self._owns_http:
            await self._calls.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _add(self, each: _Open) -> _Open:
        self._open.add(each)
        return each
