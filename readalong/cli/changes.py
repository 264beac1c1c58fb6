"""What changes: the stream `/v1/changes` over as many connections as it takes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from time import sleep
from typing import Any, Final, NamedTuple

import httpx2
import orjson

from readalong.cli.api_client import ApiClient
from readalong.cli.client import error_response, unreachable
from readalong.cli.errors import CliError
from readalong.cli.follower import FIRST_WAIT, LONGEST_WAIT, SILENCE_SECONDS
from readalong.cli.trouble import Trouble
from readalong.core.sse import Decoder

_PATH: Final = "/v1/changes"
#: Statuses after which another try may succeed.
_TEMPORARY: Final = (408, 425, 429)


class Change(NamedTuple):
    """One event of the stream: `job`, `erased`, `status`; or `connected`, when a connection begins."""

    kind: str
    data: dict[str, Any]


class Changes:
    """Reads changes without an end. Reconnects when the connection breaks.

    The stream has no positions: after each `connected` the caller loads again what it shows. `give_up`: seconds of
    unbroken trouble until an error. `notify` gets one line when trouble lasts, and one when it ends.
    """

    def __init__(
        self,
        client: ApiClient,
        filters: dict[str, str] | None = None,
        *,
        give_up: float = 60,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._filters = filters or {}
        self._give_up = give_up
        self._trouble = Trouble(give_up, notify)
        self._attempts = 0
        self._reached = False

    def read(self) -> Iterator[Change]:
        """Yields the changes. Raises CliError for a permanent error, or trouble longer than `give_up`."""
        try:
            yield from self._read()
        finally:
            self._trouble.pause()

    def _read(self) -> Iterator[Change]:
        while True:
            reason = "the stream of changes ended"
            try:
                response = self._client.open_stream(_PATH, self._filters, SILENCE_SECONDS)
                with closing(response):
                    if self._is_open(response):
                        self._trouble.pause()
                        # The API sends the head once nothing can be missed.
                        yield Change("connected", {})
                        yield from self._messages(response)
                    else:
                        reason = f"the API at {self._client.url} is not available"
            except (httpx2.TransportError, ValueError) as error:
                if not self._reached and isinstance(error, httpx2.ConnectError):
                    raise unreachable(self._client.url, error) from None  # most likely a wrong URL: fail at once
                if isinstance(error, httpx2.TransportError):
                    reason = unreachable(self._client.url, error).message
                else:
                    reason = f"{self._client.url} sends a stream that cannot be read"
            self._wait(reason)

    def _is_open(self, response: httpx2.Response) -> bool:
        """Returns whether the stream is open; False for a temporary error. Raises CliError for a permanent one."""
        self._reached = True
        if response.status_code == 200:
            kind = response.headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                raise CliError(
                    f"{self._client.url} does not answer like a readalong API: {_PATH} gave {kind or 'nothing'}"
                )
            return True
        response.read()
        if response.status_code in _TEMPORARY or response.status_code >= 500:
            return False
        raise error_response(self._client.url, response)

    def _messages(self, response: httpx2.Response) -> Iterator[Change]:
        decoder = Decoder()
        for piece in response.iter_bytes():
            self._recovered()
            for message in decoder.feed(piece):
                data = orjson.loads(message.data)
                if isinstance(data, dict):
                    yield Change(message.event, data)

    def _recovered(self) -> None:
        self._trouble.over()
        self._attempts = 0

    def _wait(self, reason: str) -> None:
        elapsed = self._trouble.failed(reason)
        if elapsed >= self._give_up:
            raise CliError(f"{reason}; gave up after {self._give_up:g} s")
        # Jitter: all watchers of a restarted API must not reconnect at the same moment.
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2**self._attempts) * random.uniform(0.5, 1)
        self._attempts = min(self._attempts + 1, 16)
        sleep(min(wait, self._give_up - elapsed))
