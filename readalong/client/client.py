"""The client of an API, for blocking programs."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Self, TypeVar

import httpx2

from readalong.client import requests
from readalong.client.calls import Calls
from readalong.client.direct_client import DirectClient
from readalong.client.job import Job
from readalong.client.requests import DISCONNECT_GRACE, Messages
from readalong.client.stream import ApiGeneration, Stream
from readalong.client.text_reader import OnRestart
from readalong.client.transport import ClientOptions
from readalong.client.watch import Watch
from readalong.client.watch_protocol import After, OnTrouble, WatchProtocol

_Open = TypeVar("_Open", Stream, Watch)


class Client:
    """The API at `base_url`, or at any of several replicas. Its calls may come from several threads at once.

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
        http_client: httpx2.Client | None = None,
    ) -> None:
        options = options or ClientOptions()
        self._owns_http = http_client is None
        http = http_client or httpx2.Client(**options.http(api_key))
        self._calls = Calls(options.replicas(base_url), options, http)
        self._direct: DirectClient | None = None
        self._open: weakref.WeakSet[Stream | Watch] = weakref.WeakSet()
        self._lock = threading.Lock()

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
    ) -> Stream:
        """Returns the stream of a generation: iterate it for text. `messages`: OpenAI's, or one question.

        `keep_running`: the generation goes on when the loop is left. `on_restart` is called when the text so far is
        void; without it a restart after the first text raises GenerationRestarted. `on_trouble` is called with each
        error that is being overcome, and with None afterwards. `direct`: without this API, straight at the model
        (DirectClient). `parameters`: OpenAI's chat parameters, and readalong's own, such as `metadata`.
        """
        self._calls.check_open()
        if direct:
            self._direct = self._direct or DirectClient()
            return self._add(self._direct.stream_chat(messages, model=model, on_restart=on_restart, **parameters))
        request = requests.submit(
            messages,
            parameters,
            model=model,
            idempotency_key=idempotency_key,
            cancel_on_disconnect=False if keep_running else DISCONNECT_GRACE,
        )
        generation = ApiGeneration(self._calls, request, keep_running=keep_running, on_trouble=on_trouble)
        return self._add(Stream(generation, on_restart))

    def submit(
        self, messages: Messages, *, model: str | None = None, idempotency_key: str | None = None, **parameters: Any
    ) -> Job:
        """Submits a job that goes on by itself. The same `idempotency_key` and parameters return the same job."""
        request = requests.submit(messages, parameters, model=model, idempotency_key=idempotency_key)
        return self._calls.job(request)

    def watch(self, job: Job | str, *, after: After = None, on_trouble: OnTrouble | None = None) -> Watch:
        """Returns the events of a job: iterate it. `after`: a position or a number; `latest`: from now on."""
        self._calls.check_open()
        return self._add(Watch(self._calls, WatchProtocol(self._calls.replicas, job, after, on_trouble=on_trouble)))

    def job(self, job: Job | str) -> Job:
        """Returns the job as it is now."""
        return self._calls.job(requests.inspect(job))

    def jobs(
        self,
        *,
        status: str | None = None,
        model: str | None = None,
        thread: str | None = None,
        metadata: Mapping[str, str] | None = None,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
        page_size: int = 100,
    ) -> Iterator[Job]:
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
            page = self._calls.json(request)
            yield from requests.jobs_of(page)
            request = requests.next_page(request, page)

    def cancel(self, job: Job | str) -> Job:
        """Cancels a job; one that has ended stays as it is."""
        return self._calls.job(requests.cancel(job))

    def erase(self, job: Job | str) -> None:
        """Cancels a job and erases everything that the server holds of it."""
        self._calls.erase(requests.erase(job))

    def close(self) -> None:
        """Ends all streams, with their generations, and all watches, and closes the connections."""
        with self._lock:
            still_open = list(self._open)
        for each in still_open:
            each.close()
        if self._direct is not None:
            self._direct.close()
        self._calls.closed.set()
        if self._owns_http:
            self._calls.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add(self, each: _Open) -> _Open:
        with self._lock:
            self._open.add(each)
        return each
