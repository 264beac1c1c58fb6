"""The calls of one API, with their retries: what a client, its watches and its streams share."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, Final

import httpx2

from readalong.client import requests
from readalong.client.errors import ClientError, MisuseError
from readalong.client.job import Job
from readalong.client.requests import Request
from readalong.client.retry import Replicas, Retry
from readalong.client.transport import BROKEN, ClientOptions, connection_error

_log: Final = logging.getLogger("readalong.client")

#: Seconds that a leaving client waits for the response to its cancel, at each replica.
STOP_SECONDS: Final = 5.0


class Calls:
    """Safe to use from several threads."""

    def __init__(self, replicas: Replicas, options: ClientOptions, http: httpx2.Client) -> None:
        self.replicas = replicas
        self.options = options
        self.http = http
        self.closed = threading.Event()

    def check_open(self) -> None:
        """Raises MisuseError after `close`."""
        if self.closed.is_set():
            raise MisuseError("This client is closed.")

    def body(self, request: Request, retry: Retry | None = None) -> tuple[str, bytes]:
        """Returns the base URL that responded, and the body of the success. Raises ClientError."""
        self.check_open()
        retry = retry or Retry(self.replicas)
        while True:
            url = retry.url
            error: ClientError
            try:
                response = self.http.request(**self.options.arguments(url, request))
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
            self.closed.wait(retry.failed(error))
            self.check_open()

    def json(self, request: Request) -> Mapping[str, Any]:
        """Returns the JSON object of the success."""
        url, body = self.body(request)
        return requests.json_of(url, request, body)

    def job(self, request: Request) -> Job:
        """Returns the job of the success."""
        url, body = self.body(request)
        return requests.job_of(url, request, body)

    def erase(self, request: Request) -> None:
        retry = Retry(self.replicas)
        try:
            self.body(request, retry)
        except ClientError as error:
            if not requests.erased(error, retry.tries):
                raise

    def stop(self, job_id: str) -> None:
        """Cancels a job whose reader leaves: one try at each replica. The server ends it later if none is heard."""
        request = requests.cancel(job_id)
        for url in self.replicas.urls:
            try:
                arguments = self.options.arguments(url, request)
                response = self.http.request(**{**arguments, "timeout": STOP_SECONDS})
            except BROKEN as broken:
                _log.info("the cancel of %s was not heard: %s", job_id, broken)
            else:
                if response.status_code < 500:
                    return
