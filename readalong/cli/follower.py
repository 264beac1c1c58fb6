"""A job's events over as many connections as it takes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, Final

import httpx2
import orjson

from readalong.cli.client import Client, error_response, unreachable
from readalong.cli.errors import CliError
from readalong.core.position import Position
from readalong.core.sse import Decoder, Message
from readalong.core.states import TERMINAL

#: Seconds without a byte after which a connection counts as dead: three of the API's heartbeats.
SILENCE_SECONDS: Final = 45.0
#: Seconds between two attempts to connect, the first and the longest. Each wait is a random half to whole of it.
FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 3.0
#: Seconds of trouble after which it is reported.
QUIET_SECONDS: Final = 2.0
#: Seconds after which a connection without an event counts as good.
STABLE_SECONDS: Final = 5.0
_START: Final = Position(0)


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """One event: its number, its type and its data."""

    seq: int
    type: str
    fields: dict[str, Any]


class Follower:
    """Reads a job's events, each once and in order. Reconnects when the connection breaks.

    `position` is that of the last event. `give_up`: seconds of unbroken trouble until an error. `notify` is called with
    one line when trouble lasts longer than QUIET_SECONDS, and with one when the trouble ends.
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
        self.position = after
        self._client = client
        self._job_id = job_id
        self._give_up = give_up
        self._notify = notify
        self._trouble_since: float | None = None
        self._notified = False
        self._attempts = 0
        self._reached = False
        #: Seconds to wait that the API asked for: with its last error (`Retry-After`), and in its streams (`retry:`).
        self._retry_after = 0.0
        self._retry = 0.0

    def events(self) -> Iterator[ReceivedEvent]:
        """Yields the events up to the terminal one; none if an ended job has no event after the position.

        Raises CliError for an unknown job, a permanent error, or trouble longer than `give_up`.
        """
        while True:
            try:
                response = self._open()
                if response is not None:
                    with closing(response):
                        if response.status_code == 204:
                            return
                        for event in self._read(response):
                            yield event
                            if event.type in TERMINAL:
                                return
                trouble: Exception | None = None
            except (httpx2.TransportError, ValueError) as error:
                if not self._reached and isinstance(error, httpx2.ConnectError):
                    raise unreachable(self._client.url, error) from None  # most likely a wrong URL: fail at once
                trouble = error
            self._wait(trouble)

    def _open(self) -> httpx2.Response | None:
        """Returns the stream, or None for a temporary error. Raises CliError for a permanent one."""
        position = str(self.position) if self.position.seq else None
        response = self._client.events(self._job_id, position, SILENCE_SECONDS)
        self._reached = True
        if response.status_code in (200, 204):
            return response
        with closing(response):
            response.read()
        if response.status_code in (408, 425, 429) or response.status_code >= 500:
            seconds = response.headers.get("retry-after", "")
            self._retry_after = float(seconds) if seconds.isdigit() else 0.0
            return None
        raise error_response(self._client.url, response)

    def _read(self, response: httpx2.Response) -> Iterator[ReceivedEvent]:
        kind = response.headers.get("content-type", "")
        if not kind.startswith("text/event-stream"):
            raise CliError(f"{self._client.url} does not answer like a readalong API: a watch gave {kind or 'nothing'}")
        opened = monotonic()
        decoder = Decoder()
        last_id = ""
        for data in response.iter_bytes():
            messages = decoder.feed(data)
            if decoder.retry is not None:
                self._retry = min(decoder.retry / 1000, LONGEST_WAIT)
            if monotonic() - opened > STABLE_SECONDS:
                self._recovered()
            for message in messages:
                # An event that is not in the log has the id of the event before it.
                unnumbered = message.event == "waiting" and message.id == last_id
                last_id = message.id
                fields = orjson.loads(message.data)
                if message.id and not unnumbered and not self._advance(message, fields):
                    continue
                self._recovered()
                if isinstance(fields, dict):
                    yield ReceivedEvent(self.position.seq, message.event, fields)

    def _advance(self, message: Message, fields: Any) -> bool:
        """Moves the position to the event. Returns False for an event at or before the position."""
        position = Position.parse(message.id)
        lost = message.event == "restarted" and isinstance(fields, dict) and fields.get("reason") == "log_lost"
        if position.seq <= self.position.seq and not lost:
            return False  # a proxy that ignores our position replays from the start
        self.position = position
        return True

    def _recovered(self) -> None:
        if self._notified:
            self._notify("connected again")
        self._trouble_since, self._notified, self._attempts, self._retry_after = None, False, 0, 0.0

    def _wait(self, trouble: Exception | None) -> None:
        now = monotonic()
        if self._trouble_since is None:
            self._trouble_since = now
        elapsed = now - self._trouble_since
        if elapsed >= self._give_up:
            self._raise_given_up(trouble)
        if elapsed >= QUIET_SECONDS and not self._notified:
            self._notified = True
            self._notify(f"{self._reason(trouble)}; trying again for {self._give_up:g} s")
        # Jitter: a thousand watchers of a restarted API must not reconnect at the same moment.
        backoff = min(LONGEST_WAIT, FIRST_WAIT * 2**self._attempts) * random.uniform(0.5, 1)
        wait = max(backoff, self._retry_after, self._retry)
        self._attempts = min(self._attempts + 1, 16)
        self._retry_after = 0.0
        sleep(min(wait, self._give_up - elapsed))

    def _raise_given_up(self, trouble: Exception | None) -> None:
        raise CliError(f"{self._reason(trouble)}; gave up after {self._give_up:g} s at event {self.position}")

    def _reason(self, trouble: Exception | None) -> str:
        if isinstance(trouble, httpx2.TransportError):
            return unreachable(self._client.url, trouble).message
        if trouble is not None:
            return f"{self._client.url} sends a stream that cannot be read"
        return f"the API at {self._client.url} is not available"
