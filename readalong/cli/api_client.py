"""The client of all commands: the calls of an operator besides those of a client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx2

from readalong.cli.client import CONNECT_SECONDS, RESPONSE_SECONDS, Client, error_response, unreachable
from readalong.cli.errors import CliError
from readalong.cli.exit_codes import MISUSE, NOT_FOUND
from readalong.cli.json_fields import mappings, text
from readalong.cli.render.metrics import age
from readalong.cli.render.patience import patience

#: The API's least length of an id's beginning, and the length of a whole id that it makes.
SHORTEST: Final = 4
WHOLE: Final = 22
_ID: Final = re.compile(r"[A-Za-z0-9_-]*")
#: Candidates that are shown for a beginning that several ids have.
_CANDIDATES: Final = 10
#: Jobs of one request.
_PAGE: Final = 200


class ApiClient(Client):
    """A client that submits, finds jobs by the beginning of an id, lists and erases them, and reads `/v1/changes`."""

    @classmethod
    @contextmanager
    def asking(cls, url: str) -> Iterator[Self]:
        """Yields a client of the API at `url`. The terminal says so when it takes longer than a second."""
        with cls(url) as client, patience(f"asking {client.url}"):
            yield client

    def submit(self, body: dict[str, Any], key: str = "") -> dict[str, Any]:
        """Submits a job and returns it. A repeat with the same key returns the same job. Raises CliError."""
        job = self._call("POST", "/v1/jobs", json=body, headers={"idempotency-key": key or uuid4().hex})
        if not isinstance(job.get("id"), str):
            raise CliError(f"{self.url} does not answer like a readalong API: a job without an id")
        return job

    def delete(self, path: str) -> None:
        """Sends a DELETE. Raises CliError."""
        try:
            response = self._http.delete(path)
        except httpx2.TransportError as error:
            raise unreachable(self.url, error) from None
        if not response.is_success:
            raise error_response(self.url, response)

    def open_stream(self, path: str, parameters: dict[str, str], silence: float) -> httpx2.Response:
        """Returns the open response of an event stream. The caller closes it. Raises httpx2.TransportError."""
        request = self._http.build_request(
            "GET",
            path,
            params=parameters,
            headers={"accept": "text/event-stream", "cache-control": "no-cache"},
            timeout=httpx2.Timeout(RESPONSE_SECONDS, connect=CONNECT_SECONDS, read=silence),
        )
        return self._http.send(request, stream=True)

    def find_job(self, beginning: str) -> str:
        """Returns the id of the only job whose id begins so.

        Raises CliError: NOT_FOUND if there is none, MISUSE with the candidates if there are several.
        """
        if len(beginning) >= WHOLE:
            return beginning
        if not _ID.fullmatch(beginning) or len(beginning) < SHORTEST:
            raise CliError(
                f"{text(beginning)!r} is not a job's id, nor the beginning of one ({SHORTEST} characters or more)",
                code=MISUSE,
            )
        answer = self.get("/v1/jobs", id=beginning, limit=_CANDIDATES + 1)
        found = [job for job in mappings(answer.get("jobs")) if str(job.get("id")).startswith(beginning)]
        if not found:
            raise CliError(f"there is no job whose id begins with {beginning!r}", code=NOT_FOUND)
        if len(found) > 1 and beginning not in [job["id"] for job in found]:
            lines = [
                f"  {text(job['id'])}  {text(job.get('status')):9}  {age(job.get('created_at')):>6}"
                for job in found[:_CANDIDATES]
            ]
            more = ["  …"] if len(found) > _CANDIDATES else []
            raise CliError("\n".join([f"several ids begin with {beginning!r}:", *lines, *more]), code=MISUSE)
        return beginning if len(found) > 1 else str(found[0]["id"])

    def find_jobs(self, beginnings: list[str]) -> list[str]:
        """Returns the ids of the jobs whose ids begin so, each once. Raises CliError as `find_job`."""
        return list(dict.fromkeys(map(self.find_job, beginnings)))

    def pages(self, limit: int | None = None, **filters: str) -> Iterator[list[dict[str, Any]]]:
        """Yields pages of the list of jobs, newest first, with up to `limit` jobs together. Raises CliError."""
        left = limit
        before: str | None = None
        while left is None or left > 0:
            parameters: dict[str, str | int] = {"limit": _PAGE if left is None else min(_PAGE, left), **filters}
            if before is not None:
                parameters["before"] = before
            answer = self.get("/v1/jobs", **parameters)
            page = mappings(answer.get("jobs"))[:left]
            yield page
            if left is not None:
                left -= len(page)
            following = parse_qs(urlsplit(str(answer.get("next") or "")).query).get("before")
            if not following or following[0] == before:
                return
            before = following[0]
