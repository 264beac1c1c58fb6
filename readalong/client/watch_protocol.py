"""The reading of a job's log over as many connections as it takes: what to ask, and what the bytes mean. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

import orjson

from readalong.client import requests
from readalong.client.errors import ApiConnectionError, ClientError, MisuseError, ProtocolError
from readalong.client.events import Event, parse_event
from readalong.client.job import Job
from readalong.client.requests import Request
from readalong.client.retry import Replicas, Retry
from readalong.core.position import Position
from readalong.core.sse import Decoder, Message, MessageTooLong

#: Where a watch begins: after an event's position or number; None: at the start; `latest`: with the next event.
After: TypeAlias = str | int | None
#: Is told each trouble, and None when it is over.
OnTrouble: TypeAlias = Callable[[ClientError | None], None]

#: Bytes of a line: the terminal event holds the whole text in one.
_LONGEST_LINE: Final = 2**26
#: Seconds after which a connection without an event counts as good.
_STABLE_SECONDS: Final = 5.0
_LATEST: Final = "latest"


class WatchProtocol:
    """One watch. For each connection: `request`, then `open` with the response's head, then `feed` with its bytes; then
    `failed` says how long to wait before the next one."""

    def __init__(
        self,
        replicas: Replicas,
        job: Job | str,
        after: After = None,
        *,
        give_up: float | None = None,
        on_trouble: OnTrouble | None = None,
    ) -> None:
        """Raises MisuseError for what is no id or no position."""
        self.position = _position(after)
        self._path = f"{requests.job_path(job)}/events"
        self._latest = after == _LATEST
        self._retry = Retry(replicas, give_up)
        self._clock = replicas.clock
        self._on_trouble = on_trouble
        self._troubled = False
        self._opened = 0.0
        self._decoder = Decoder()
        self._last_id = ""

    @property
    def url(self) -> str:
        """The base URL for the next connection."""
        return self._retry.url

    def request(self) -> Request:
        """Returns the request for what follows the position."""
        headers = {"accept": "text/event-stream", "cache-control": "no-cache"}
        if self.position.seq:
            return Request("GET", self._path, headers={**headers, "last-event-id": str(self.position)})
        return Request("GET", self._path, query={"after": _LATEST} if self._latest else {}, headers=headers)

    def open(self, status: int, headers: Mapping[str, str], body: bytes) -> bool:
        """Takes the head of the response, and the body of one that is no 200. Returns whether events follow.

        Raises ClientError.
        """
        self._retry.reached()
        error = requests.error_of(self.url, status, headers, body)
        if error is not None:
            raise error
        if status != 200:
            self._recovered()
            return False
        kind = headers.get("content-type", "")
        if not kind.startswith("text/event-stream"):
            raise ProtocolError(
                f"{self.url} does not answer like a readalong API: a watch gave {kind or 'no content type'}."
            )
        self._opened = self._clock()
        self._decoder = Decoder(max_line=_LONGEST_LINE, max_message=_LONGEST_LINE)
        self._last_id = ""
        return True

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yields the new events that the bytes complete; the position moves with each. Raises ProtocolError."""
        try:
            messages = self._decoder.feed(data)
        except MessageTooLong as error:
            raise ProtocolError(f"{self.url}: {error}.") from None
        if self._decoder.retry is not None:
            self._retry.stream_wait = min(self._decoder.retry / 1000, 60.0)
        if self._clock() - self._opened > _STABLE_SECONDS:
            self._recovered()
        for message in messages:
            event = self._event(message)
            if event is not None:
                self._recovered()
                yield event
        if self._latest and not self.position.seq and self._decoder.last_id:
            # An id without an event: the position from which `latest` counts.
            self.position = _parse_id(self._decoder.last_id)

    def ended(self) -> ClientError:
        """Returns the trouble of a stream that ended without a terminal event."""
        return ApiConnectionError(f"{self.url} ended the stream before the job's end.")

    def failed(self, error: ClientError) -> float:
        """Returns the seconds to wait before the next connection. Raises the error if there should be none."""
        wait = self._retry.failed(error)
        if self._on_trouble is not None:
            self._on_trouble(error)
        self._troubled = True
        return wait

    def _event(self, message: Message) -> Event | None:
        """Returns the message's event and moves the position; None for one that came before."""
        try:
            fields = orjson.loads(message.data)
        except ValueError:
            raise ProtocolError(f"{self.url} sent an event that is not JSON.", retryable=True) from None
        if not isinstance(fields, dict):
            fields = {}
        # An event that is not in the log has the id of the event before it.
        unnumbered = not message.id or (message.event == "waiting" and message.id == self._last_id)
        self._last_id = message.id
        if unnumbered:
            return parse_event(message.event, fields)
        position = _parse_id(message.id)
        lost = message.event == "restarted" and fields.get("reason") == "log_lost"
        if position.seq <= self.position.seq and not lost:
            return None  # a proxy that ignores our position replays from the start
        self.position = position
        return parse_event(message.event, fields, position=message.id, seq=position.seq)

    def _recovered(self) -> None:
        self._retry.succeeded()
        if self._troubled:
            self._troubled = False
            if self._on_trouble is not None:
                self._on_trouble(None)


def _position(after: After) -> Position:
    if after is None or after in (_LATEST, ""):
        return Position(0)
    try:
        return Position.parse(str(after))
    except ValueError as error:
        raise MisuseError(f"after: {error}.") from None


def _parse_id(text: str) -> Position:
    try:
        return Position.parse(text)
    except ValueError:
        raise ProtocolError("The stream has an event whose id is none.", retryable=True) from None
