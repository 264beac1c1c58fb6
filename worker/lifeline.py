"""A subscription that shows other workers that this process lives: the kernel closes it when the process dies."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NoReturn

from readalong.redis.facade import RedisFacade

logger = logging.getLogger(__name__)

#: Seconds before the next try after Redis has refused the subscription.
_REFUSED: Final = 10.0


class Lifeline:
    """A connection of its own, on whose channel no message is published. `changed` is set when the subscription breaks
    and when it is made."""

    def __init__(self, redis: RedisFacade, channel: str) -> None:
        self.changed = asyncio.Event()
        self._warned = False
        self._connection = redis.subscribe(
            [channel],
            on_message=_ignore,
            on_change=self._on_change,
            on_refusal=self._on_refusal,
            asks_run_id=True,
        )

    @property
    def run_id(self) -> str | None:
        """The run id of the Redis that holds the subscription. None without one, "" if Redis does not state it."""
        return self._connection.run_id

    async def hold(self) -> NoReturn:
        """Connects, and connects again, for ever."""
        await self._connection.run()

    def unseen(self, since: float) -> None:
        """Drops the connection if its subscription is older than `since`, by the loop's clock: Redis, asked then,
        counted no subscriber, so the connection is half-open."""
        subscribed_at = self._connection.subscribed_at
        if subscribed_at is not None and subscribed_at < since:
            self._connection.reconnect()

    def _on_change(self) -> None:
        self.changed.set()
        if self.run_id == "":
            self._warn("Redis does not state its run id (INFO server)")

    def _on_refusal(self, error: Exception) -> None:
        self._warn(error)
        asyncio.get_running_loop().call_later(_REFUSED, self._try_again)

    def _try_again(self) -> None:
        if self.run_id is None:
            self._connection.reconnect()

    def _warn(self, reason: object) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s: if this worker is killed, its jobs wait until its lease is over", reason)


def _ignore(channel: bytes, data: bytes) -> None:
    """A message on the channel means nothing."""
