"""A job's events over as many connections as it takes: the client library's reading, with the command's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from time import sleep
from typing import Any, Final

import httpx2

from readalong.cli.client import Client, error_response, unreachable
from readalong.cli.errors import CliError
from readalong.cli.trouble import Trouble
from readalong.client.errors import ApiConnectionError, ApiError, ClientError, ProtocolError
from readalong.client.events import Event
from readalong.client.retry import FIRST_WAIT, Replicas
from readalong.client.watch_protocol import WatchProtocol
from readalong.core.position import Position
from readalong.core.states import TERMINAL

__all__ = ["FIRST_WAIT", "LONGEST_WAIT", "SILENCE_SECONDS", "Follower", "ReceivedEvent"]

#: Seconds without a byte after which a connection counts as dead: three of the API's heartbeats.
SILENCE_SECONDS: Final = 45.0
#: The longest wait between two attempts to connect, in seconds.
LONGEST_WAIT: Final = 3.0
_START: Final = Position(0)


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """One event: its number, its type and its data."""

    seq: int
    type: str
    fields: dict[str, Any]


class Follower:
    """Reads a job's events, each once and in order. Reconnects when the connection breaks.

    `position` is that of the last event. `give_up`: seconds of unbroken trouble until an error. `notify` gets one line
    when trouble lasts, and one when it ends. Raises CliError for an id that is none.
    """

    def __init__(
        self,
        client: Client,
        job_id: str,
        after: Position = _START,
        *,
        give_up: float = 60,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        client.job_path(job_id)
        self._client = client
        self._job_id = job_id
        self._give_up = give_up
        self._trouble = Trouble(give_up, notify)
        #: The words for the newest trouble.
        self._reason = ""
        replicas = Replicas([client.url], give_up=give_up, longest_wait=LONGEST_WAIT)
        self._protocol = WatchProtocol(replicas, job_id, str(after), on_trouble=self._on_trouble)

    @property
    def position(self) -> Position:
        return self._protocol.position

    def events(self) -> Iterator[ReceivedEvent]:
        """Yields the events up to the terminal one; none if an ended job has no event after the position.

        Raises CliError for an unknown job, a permanent error, or trouble longer than `give_up`.
        """
        try:
            yield from self._events()
        finally:
            self._trouble.pause()

    def _events(self) -> Iterator[ReceivedEvent]:
        while True:
            trouble: ClientError
            try:
                position = str(self.position) if self.position.seq else None
                with closing(self._client.events(self._job_id, position, SILENCE_SECONDS)) as response:
                    if not self._opened(response):
                        return
                    self._trouble.pause()
                    for data in response.iter_bytes():
                        for event in self._protocol.feed(data):
                            received = self._received(event)
                            yield received
                            if received.type in TERMINAL:
                                return
                trouble = self._protocol.ended()
                self._reason = f"the API at {self._client.url} is not available"
            except httpx2.TransportError as error:
                self._reason = unreachable(self._client.url, error).message
                trouble = ApiConnectionError(self._reason, refused=isinstance(error, httpx2.ConnectError))
            except ClientError as error:
                trouble = error
                self._reason = self._words(error)
            sleep(self._wait(trouble))

    def _opened(self, response: httpx2.Response) -> bool:
        """Returns whether events follow. Raises ClientError for a temporary error, CliError for a permanent one."""
        body = b"" if response.status_code == 200 else response.read()
        try:
            return self._protocol.open(response.status_code, response.headers, body)
        except ApiError as error:
            if error.retryable:
                raise
            raise error_response(self._client.url, response) from None

    def _received(self, event: Event) -> ReceivedEvent:
        return ReceivedEvent(self.position.seq, event.name if event.type == "other" else event.type, dict(event.fields))

    def _words(self, error: ClientError) -> str:
        if not isinstance(error, ProtocolError):
            return f"the API at {self._client.url} is not available"
        return (
            f"{self._client.url} sends a stream that cannot be read" if error.retryable else error.message.rstrip(".")
        )

    def _wait(self, trouble: ClientError) -> float:
        """Returns the seconds until the next connection. Raises CliError if there should be none."""
        try:
            return self._protocol.failed(trouble)
        except ClientError:
            given_up = f"; gave up after {self._give_up:g} s at event {self.position}"
            at_once = not trouble.retryable or (not self._trouble.lasts and self._give_up > 0)
            raise CliError(self._reason + ("" if at_once else given_up)) from None

    def _on_trouble(self, trouble: ClientError | None) -> None:
        if trouble is None:
            self._trouble.over()
        else:
            self._trouble.failed(self._reason)
