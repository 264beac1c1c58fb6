"""Jobs whose submit may come again: its client sends no Idempotency-Key and has not got an answer yet."""

from __future__ import annotations

from typing import Final

from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade

#: Milliseconds for which a job is offered. The SDKs repeat a request at most eight seconds after they gave it up.
_TTL_MS: Final = 120_000
#: Offers for one body. A client that sends the same body many times at once loses the oldest.
_MOST: Final = 64


class RepeatStore:
    """The offers of each body, in the order in which repeats take them. `owner`: a digest without blanks."""

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        self._redis = redis
        self._keys = settings.keys

    async def offer(self, body_digest: str, job_id: str, owner: str) -> None:
        """Offers the job, anew if it was offered before. Raises StoreUnavailable."""
        await self._redis.call("offer_repeat", self._names(body_digest), f"{job_id} {owner}", _MOST, _TTL_MS)

    async def take(self, body_digest: str, owner: str) -> str | None:
        """Returns the id of the job that a repeat stands for; None if there is none. Two repeats at the same time get
        two jobs if there are two. Raises StoreUnavailable."""
        found: bytes | None = await self._redis.call("take_repeat", self._names(body_digest), owner)
        return None if found is None else found.decode()

    async def end(self, body_digest: str, job_id: str) -> None:
        """Offers the job no more. Raises StoreUnavailable."""
        await self._redis.call("end_offer", self._names(body_digest), job_id)

    def _names(self, body_digest: str) -> list[str]:
        return [self._keys.repeats(body_digest)]
