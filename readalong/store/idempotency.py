"""Idempotency-Keys: which job and which body each key was used for first."""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple

from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade

#: Third word of an Idempotency-Key's value once its job is written.
_WRITTEN: Final = "written"


def key_digest(key: str) -> str:
    """Returns the SHA-256 of an Idempotency-Key. Redis never sees the key: a client may have made it of something
    private."""
    return sha256(key.encode()).hexdigest()


class IdempotencyRecord(NamedTuple):
    """The job and the body of an Idempotency-Key. `written`: the job was there once. `outlives`: the record is older
    than an ended job is kept, so a missing job has expired; a missing job of a younger one was lost by Redis."""

    job_id: str
    body_digest: str
    written: bool = False
    outlives: bool = False


class IdempotencyStore:
    """One record for each key, with a time to live."""

    def __init__(self, redis: RedisFacade, settings: Settings) -> None:
        self._redis = redis
        self._keys = settings.keys
        self._ttl_ms = int(settings.idempotency_ttl * 1000)
        self._retention_ms = int(settings.retention * 1000)

    async def claim(self, key: str, job_id: str, body_digest: str) -> IdempotencyRecord:
        """Records the job and the body, unless the key has a record. Returns the key's record."""
        names = [self._keys.idempotency(key_digest(key))]
        before = await self._redis.call("claim_key", names, job_id, body_digest, self._ttl_ms)
        if before is None:
            return IdempotencyRecord(job_id, body_digest)
        value, left = before
        found_id, found_digest, *mark = value.decode().split(" ")
        return IdempotencyRecord(found_id, found_digest, mark == [_WRITTEN], self._ttl_ms - left >= self._retention_ms)

    async def find(self, key: str) -> str | None:
        """Returns the id of the key's job; None if the key has no record."""
        found: bytes | None = await self._redis.command("GET", self._keys.idempotency(key_digest(key)))
        return None if found is None else found.decode().partition(" ")[0]

    async def mark_written(self, key: str, record: IdempotencyRecord) -> None:
        """Notes that the key's job is written. The record's time to live stays."""
        name = self._keys.idempotency(key_digest(key))
        value = f"{record.job_id} {record.body_digest} {_WRITTEN}"
        await self._redis.command("SET", name, value, "XX", "KEEPTTL")

    async def release(self, digest: str, job_id: str) -> None:
        """Deletes the record of the key with this `key_digest`, so that a repeat submits a new job.

        Does nothing if the record names another job by now.
        """
        await self._redis.call("release_key", [self._keys.idempotency(digest)], job_id)
