"""Which job answers a chat: the newest that was submitted in its name."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import orjson

from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade


class ChatStore:
    """One job for each chat, with a time to live. Two owners' chats of one id are two chats."""

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        self._redis = redis
        self._keys = settings.keys
        self._ttl_ms = int((settings.job_ttl + settings.retention) * 1000)

    async def begin(self, chat_id: str, pairs: Mapping[str, str], job_id: str) -> str | None:
        """Makes this the chat's job. Returns the one that was, of which this call alone is told."""
        before = await self._redis.command("SET", self._key(chat_id, pairs), job_id, "PX", self._ttl_ms, "GET")
        return None if before is None else before.decode()

    async def newest(self, chat_id: str, pairs: Mapping[str, str]) -> str | None:
        """The chat's job, which may have ended or be gone. `pairs`: the policy's, for a submit."""
        found = await self._redis.command("GET", self._key(chat_id, pairs))
        return None if found is None else found.decode()

    def _key(self, chat_id: str, pairs: Mapping[str, str]) -> str:
        owner = orjson.dumps(pairs, option=orjson.OPT_SORT_KEYS)
        return self._keys.chat(sha256(owner + b"\n" + chat_id.encode(errors="surrogatepass")).hexdigest())
