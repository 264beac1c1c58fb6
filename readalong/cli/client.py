"""An HTTP client of a readalong API. Each error is one line."""

from __future__ import annotations

from typing import Any, Final, Self
from urllib.parse import quote

import httpx2
import orjson

from readalong.cli.errors import CliError
from readalong.cli.exit_codes import FAILED, MISUSE, NOT_FOUND
from readalong.cli.sanitize import one_line

#: Seconds to connect, and seconds until a response.
CONNECT_SECONDS: Final = 5.0
RESPONSE_SECONDS: Final = 15.0
#: This machine itself, which a proxy cannot reach.
_LOOPBACK: Final = ("localhost", "*.localhost", "127.0.0.1", "[::1]")
#: Exit codes of error responses.
_CODES: Final = {400: MISUSE, 404: NOT_FOUND, 410: NOT_FOUND, 422: MISUSE}


class Client:
    """The API at `url`, as a context manager. Raises CliError for an invalid URL."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            parts = httpx2.URL(self.url)
        except httpx2.InvalidURL:
            parts = httpx2.URL()
        if parts.scheme not in ("http", "https") or not parts.host or not 0 < (parts.port or 80) < 65_536:
            raise CliError(f"{one_line(url)!r} is not the URL of an API; give http://HOST:PORT", code=2)
        self._http = httpx2.Client(
            base_url=self.url,
            timeout=httpx2.Timeout(RESPONSE_SECONDS, connect=CONNECT_SECONDS),
            mounts={f"all://{host}": None for host in _LOOPBACK},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def job_path(self, job_id: str) -> str:
        """Returns the path of a job. Raises CliError for an id that would lead to another path."""
        if not job_id.strip("."):
            raise CliError(f"{job_id!r} is not a job's id")
        return f"/v1/jobs/{quote(job_id, safe='')}"

    def get(self, path: str, **parameters: str | int) -> dict[str, Any]:
        """Returns the JSON object at `path`. Raises CliError."""
        return self._call("GET", path, params=parameters or None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Posts `body` and returns the JSON object of the response. Raises CliError."""
        return self._call("POST", path, json=body)

    def events(self, job_id: str, after: str | None, silence: float) -> httpx2.Response:
        """Returns the open response to a watch from `after`. The caller closes it.

        Reading fails after `silence` seconds without a byte. Raises httpx2.TransportError.
        """
        headers = {"accept": "text/event-stream", "cache-control": "no-cache"}
        if after is not None:
            headers["last-event-id"] = after
        timeout = httpx2.Timeout(RESPONSE_SECONDS, connect=CONNECT_SECONDS, read=silence)
        request = self._http.build_request("GET", f"{self.job_path(job_id)}/events", headers=headers, timeout=timeout)
        return self._http.send(request, stream=True)

    def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **options)
        except httpx2.TransportError as error:
            raise unreachable(self.url, error) from None
        if not response.is_success:
            raise error_response(self.url, response)
        try:
            answer = orjson.loads(response.content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise CliError(f"{self.url} does not answer like a readalong API: {method} {path} gave no JSON object")
        return answer


def unreachable(url: str, error: Exception) -> CliError:
    """Returns the error for an API that cannot be reached."""
    if isinstance(error, httpx2.ConnectError):
        return CliError(f"no API at {url}: {one_line(str(error)) or 'no connection'}")
    if isinstance(error, httpx2.TimeoutException):
        return CliError(f"the API at {url} does not answer ({type(error).__name__})")
    return CliError(f"the connection to {url} failed: {one_line(str(error)) or type(error).__name__}")


def error_response(url: str, response: httpx2.Response) -> CliError:
    """Returns the error for an error response: the `detail` of its problem details, or else its status.

    The response's body must have been read. A job that is not there, and a request that the API finds wrong, have
    exit codes of their own.
    """
    code = _CODES.get(response.status_code, FAILED)
    try:
        problem = orjson.loads(response.content)
    except ValueError:
        problem = None
    if isinstance(problem, dict) and isinstance(problem.get("detail"), str):
        return CliError(one_line(problem["detail"]), code=code)
    return CliError(f"{url} answered {response.status_code} {response.reason_phrase}", code=code)
