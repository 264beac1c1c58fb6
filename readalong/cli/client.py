"""One HTTP client of a readalong API; what goes wrong becomes one line."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import httpx2
import orjson

from readalong.cli.plain import one_line
from readalong.cli.problem import Problem

#: Seconds to connect; seconds that an ordinary answer may take.
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 15.0
#: This machine itself, which a proxy of the environment cannot reach.
_LOOPBACK: Final = ("localhost", "*.localhost", "127.0.0.1", "[::1]")


class Client:
    """The API at `url`. Use it as a context manager. Raises Problem for a URL that is none."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            parts = httpx2.URL(self.url)
        except httpx2.InvalidURL:
            parts = httpx2.URL()
        if parts.scheme not in ("http", "https") or not parts.host or not 0 < (parts.port or 80) < 65_536:
            raise Problem(f"{one_line(url)!r} is not the URL of an API: http://HOST:PORT is wanted", code=2)
        self._http = httpx2.Client(
            base_url=self.url,
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            mounts={f"all://{host}": None for host in _LOOPBACK},
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def job_path(self, job_id: str) -> str:
        """The path of a job. Raises Problem for an id that would lead elsewhere."""
        if not job_id.strip("."):
            raise Problem(f"{job_id!r} is not a job's id")
        return f"/v1/jobs/{quote(job_id, safe='')}"

    def get(self, path: str, **parameters: str | int) -> dict[str, Any]:
        """The JSON object at `path`. Raises Problem."""
        return self._call("GET", path, params=parameters or None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object that answers `body`. Raises Problem."""
        return self._call("POST", path, json=body)

    def events(self, job_id: str, after: str | None, silence: float) -> httpx2.Response:
        """The open answer to a watch from `after`; the caller closes it.

        `silence`: seconds without a byte after which reading fails. Raises httpx2.TransportError.
        """
        headers = {"accept": "text/event-stream", "cache-control": "no-cache"}
        if after is not None:
            headers["last-event-id"] = after
        timeout = httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, read=silence)
        request = self._http.build_request("GET", f"{self.job_path(job_id)}/events", headers=headers, timeout=timeout)
        return self._http.send(request, stream=True)

    def _call(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **how)
        except httpx2.TransportError as error:
            raise unreachable(self.url, error) from None
        if not response.is_success:
            raise refusal(self.url, response)
        try:
            answer = orjson.loads(response.content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Problem(f"{self.url} does not answer like a readalong API: {method} {path} gave no JSON object")
        return answer


def unreachable(url: str, error: Exception) -> Problem:
    """The line for an API that cannot be reached."""
    if isinstance(error, httpx2.ConnectError):
        return Problem(f"no API at {url}: {one_line(str(error)) or 'no connection'}")
    if isinstance(error, httpx2.TimeoutException):
        return Problem(f"the API at {url} does not answer ({type(error).__name__})")
    return Problem(f"the connection to {url} broke: {one_line(str(error)) or type(error).__name__}")


def refusal(url: str, response: httpx2.Response) -> Problem:
    """The line for an answer that is an error: the `detail` of its problem details where it has one.

    The response's body must have been read.
    """
    try:
        problem = orjson.loads(response.content)
    except ValueError:
        problem = None
    if isinstance(problem, dict) and isinstance(problem.get("detail"), str):
        return Problem(one_line(problem["detail"]))
    return Problem(f"{url} answered {response.status_code} {response.reason_phrase}")
