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

from readalong.cli.client import Client, refusal, unreachable
from readalong.cli.problem import Problem
from readalong.core.position import Position
from readalong.core.sse import Decoder, Message
from readalong.core.states import TERMINAL

#: Seconds without a byte after which a connection counts as dead: three of the API's heartbeats.
SILENCE_SECONDS: Final = 45.0
#: Seconds between two tries to connect, the first and the longest; each wait is a random part of it, from a half on.
FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 3.0
#: Seconds of trouble after which the person is told.
QUIET_SECONDS: Final = 2.0
#: Seconds that a connection must last to count as good although it brought no event.
STABLE_SECONDS: Final = 5.0
_START: Final = Position(0)


@dataclass(frozen=True, slots=True)
class Seen:
    """One event: its number, its type and its data."""

    seq: int
    type: str
    fields: dict[str, Any]


class Follower:
    """Reads a job's events, each once and in order, and comes back by itself when the connection breaks.

    `position` is that of the last event seen. `give_up`: seconds of unbroken trouble that it bears.
    `tell` is called with a line when trouble lasts for over QUIET_SECONDS, once, and when it is over.
    """

    def __init__(
        self,
        client: Client,
        job_id: str,
        after: Position = _START,
        *,
        give_up: float = 60,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.position = after
        self._client = client
        self._job_id = job_id
        self._give_up = give_up
        self._tell = tell
        self._trouble_since: float | None = None
        self._told = False
        self._tries = 0
        self._answered = False
        #: Seconds that the API asked us to stay away: with its last refusal, and in its streams (`retry:`).
        self._asked = 0.0
        self._pause = 0.0

    def events(self) -> Iterator[Seen]:
        """The events up to the terminal one; none if there are no more after the position of an ended job.

        Raises Problem for an unknown job, an answer that will not change, or trouble longer than `give_up`.
        """
        while True:
            try:
                response = self._open()
                if response is not None:
                    with closing(response):
                        if response.status_code == 204:
                            return
                        for seen in self._read(response):
                            yield seen
                            if seen.type in TERMINAL:
                                return
                trouble: Exception | None = None
            except (httpx2.TransportError, ValueError) as error:
                if not self._answered and isinstance(error, httpx2.ConnectError):
                    raise unreachable(self._client.url, error) from None  # most likely a wrong URL: say so at once
                trouble = error
            self._wait(trouble)

    def _open(self) -> httpx2.Response | None:
        """The stream, or None when the API asks us to come back later."""
        position = str(self.position) if self.position.seq else None
        response = self._client.events(self._job_id, position, SILENCE_SECONDS)
        self._answered = True
        if response.status_code in (200, 204):
            return response
        with closing(response):
            response.read()
        if response.status_code in (408, 425, 429) or response.status_code >= 500:
            after = response.headers.get("retry-after", "")
            self._asked = float(after) if after.isdigit() else 0.0
            return None
        raise refusal(self._client.url, response)

    def _read(self, response: httpx2.Response) -> Iterator[Seen]:
        kind = response.headers.get("content-type", "")
        if not kind.startswith("text/event-stream"):
            raise Problem(f"{self._client.url} does not answer like a readalong API: a watch gave {kind or 'nothing'}")
        opened = monotonic()
        decoder = Decoder()
        last_id = ""
        for piece in response.iter_bytes():
            messages = decoder.feed(piece)
            if decoder.retry is not None:
                self._pause = min(decoder.retry / 1000, LONGEST_WAIT)
            if monotonic() - opened > STABLE_SECONDS:
                self._recovered()
            for message in messages:
                # What is not in the log has no id of its own: it bears that of the event before it.
                unnumbered = message.event == "waiting" and message.id == last_id
                last_id = message.id
                fields = orjson.loads(message.data)
                if message.id and not unnumbered and not self._goes_on(message, fields):
                    continue
                self._recovered()
                if isinstance(fields, dict):
                    yield Seen(self.position.seq, message.event, fields)

    def _goes_on(self, message: Message, fields: Any) -> bool:
        """Whether it follows our position, which it then moves."""
        position = Position.parse(message.id)
        lost = message.event == "restarted" and isinstance(fields, dict) and fields.get("reason") == "log_lost"
        if position.seq <= self.position.seq and not lost:
            return False  # a proxy that ignores our position replays from the start
        self.position = position
        return True

    def _recovered(self) -> None:
        if self._told:
            self._tell("connected again")
        self._trouble_since, self._told, self._tries, self._asked = None, False, 0, 0.0

    def _wait(self, trouble: Exception | None) -> None:
        now = monotonic()
        if self._trouble_since is None:
            self._trouble_since = now
        elapsed = now - self._trouble_since
        if elapsed >= self._give_up:
            self._raise_given_up(trouble)
        if elapsed >= QUIET_SECONDS and not self._told:
            self._told = True
            self._tell(f"{self._reason(trouble)}; trying again for {self._give_up:g} s")
        # Jitter: a thousand watchers of an API that restarts must not come back in one instant.
        wait = max(min(LONGEST_WAIT, FIRST_WAIT * 2**self._tries) * random.uniform(0.5, 1), self._asked, self._pause)
        self._tries = min(self._tries + 1, 16)
        self._asked = 0.0
        sleep(min(wait, self._give_up - elapsed))

    def _raise_given_up(self, trouble: Exception | None) -> None:
        raise Problem(f"{self._reason(trouble)}; gave up after {self._give_up:g} s at event {self.position}")

    def _reason(self, trouble: Exception | None) -> str:
        if isinstance(trouble, httpx2.TransportError):
            return unreachable(self._client.url, trouble).message
        if trouble is not None:
            return f"{self._client.url} sends a stream that cannot be read"
        return f"the API at {self._client.url} has nothing for us"
