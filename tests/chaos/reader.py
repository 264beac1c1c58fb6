"""A client that watches one job as an EventSource does, and writes every line that it reads to the history."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from itertools import count
from random import Random
from typing import Final, Literal

from tests.chaos.client_plan import Reading
from tests.chaos.history import History
from tests.support.client import Cut, Entry, Malformed, Response

How = Literal["terminal", "204", "gone", "left", "gave_up"]

#: Seconds before a reconnect, at least and at most.
PAUSES: Final = (0.1, 1.5)
#: Events over which it may dawdle: a long answer must not take for ever.
_DAWDLES: Final = 60
_NUMBERS: Final = count(1)


class Reader:
    """Reads on, from its position and on any replica, until the end, a final refusal, or its time to leave."""

    def __init__(
        self,
        history: History,
        urls: Sequence[str],
        job_id: str,
        reading: Reading,
        rng: Random,
        *,
        stream: tuple[int, Response] | None = None,
    ) -> None:
        """`stream`: a replica, and its response to `POST /chat/stream`, with which the reader starts.

        It has no positions.
        """
        self._history = history
        self._urls = urls
        self._job_id = job_id
        self._reading = reading
        self._rng = rng
        self._name = f"c{next(_NUMBERS)}"
        self._position = str(reading.after or "")
        self._drops = list(reading.drops)
        self._stream = stream
        self._seen = 0
        self._how: How | None = None

    async def run(self) -> None:
        """Reads to the end. A cancelled reader gave up, which the history records."""
        self._history.client("client", client=self._name, job=self._job_id, after=self._number)
        try:
            while self._how is None:
                await self._connect()
                if self._how is None:
                    await asyncio.sleep(self._rng.uniform(*PAUSES))
        finally:
            self._history.client("client_end", client=self._name, how=self._how or "gave_up")

    async def _connect(self) -> None:
        """One connection, from `open` to `close`."""
        if self._stream is not None:
            await self._go_on(*self._stream)
            return
        watch = f"w{next(_NUMBERS)}"
        replica = self._rng.randrange(len(self._urls))
        path, headers = self._request()
        opened = self._opened(watch, replica)
        try:
            response = await Response.open("GET", self._urls[replica] + path, None, headers)
        except (OSError, Cut):
            self._history.client("open", **opened, status=None)
            self._history.client("close", watch=watch, how="refused")
            return
        self._history.client("open", **opened, status=response.status)
        how = "refused"
        try:
            if response.status == 204:
                self._how, how = "204", "end"
            elif response.status in (404, 410):  # the job was erased, or the checker reports it
                self._how = "gone"
            elif response.status == 200:
                how = await self._read(response, watch)
            elif response.status != 503:
                self._history.trouble(f"{watch}: {response.status} for a watcher of {self._job_id}")
                self._how = "gave_up"
        finally:
            response.abort()
            self._history.client("close", watch=watch, how=how)

    async def _go_on(self, replica: int, response: Response) -> None:
        """Reads the submit's response."""
        watch = f"w{next(_NUMBERS)}"
        self._history.client("open", **self._opened(watch, replica), status=response.status)
        how = "left"
        try:
            how = await self._read(response, watch)
        finally:
            self._stream = None
            response.abort()
            self._history.client("close", watch=watch, how=how)

    def _request(self) -> tuple[str, dict[str, str]]:
        """Returns the path and the headers that ask for what follows the position."""
        path = f"/v1/jobs/{self._job_id}/events"
        if self._position and self._rng.random() < 0.2:
            return f"{path}?after={self._position}", {}
        return path, {"Last-Event-ID": self._position} if self._position else {}

    @property
    def _number(self) -> int:
        """The number in its position."""
        return int(self._position.partition("-")[0] or 0)

    def _opened(self, watch: str, replica: int) -> dict[str, object]:
        return {
            "watch": watch,
            "client": self._name,
            "job": self._job_id,
            "after": self._number,
            "epoch": self._position.partition("-")[2],
            "replica": replica,
            **({} if self._stream is None else {"form": "chat"}),
        }

    def _saw(self, watch: str, entry: Entry) -> bool:
        """Writes an event to the history; returns whether it is the end."""
        if _is_notice(entry):
            return False
        if self._stream is not None:
            self._history.client("said", watch=watch, data=entry.data)
            return entry.data == "[DONE]"
        seen = {"id": entry.id, "epoch": entry.epoch, "type": entry.event, "data": entry.data}
        self._history.client("event", watch=watch, **seen)
        self._position = entry.position
        return entry.terminal

    async def _read(self, response: Response, watch: str) -> str:
        """Reads one stream; returns how it closed."""
        drop = self._drops.pop(0) if self._drops else None
        ended = False
        here = 0
        try:
            if drop == 0:
                return "left"
            async with aclosing(response.entries()) as entries:
                async for entry in entries:
                    terminal = self._saw(watch, entry)
                    self._seen += 1
                    here += 1
                    if terminal:
                        # It reads on: nothing may follow.
                        ended, self._how = True, "terminal"
                    elif self._reading.leaves is not None and self._seen >= self._reading.leaves:
                        self._how = "left"
                        return "left"
                    elif here == drop:
                        return "left"
                    if self._reading.dawdle and self._seen < _DAWDLES:
                        await asyncio.sleep(self._reading.dawdle)
        except Malformed as error:
            self._history.trouble(f"{watch}: {error}")
            return "reset"
        except (OSError, Cut):
            return "end" if ended else "reset"
        return "end" if ended else "eof"


def _is_notice(entry: Entry) -> bool:
    """Whether an event says that the job waits. It has no number, because the log does not have it."""
    if entry.id is not None or entry.data == "[DONE]":
        return False
    return entry.event == "waiting" or "waiting" in entry.fields
