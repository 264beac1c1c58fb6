"""Idempotency-Keys, on a real server."""

from __future__ import annotations

import asyncio

from arq.connections import ArqRedis

from readalong.core.keys import Keys
from readalong.store.idempotency import IdempotencyRecord, IdempotencyStore, key_digest


def _id(name: str) -> str:
    return f"keyed-job-000000-{name}"


async def test_an_idempotency_key_stays_tied_to_its_first_job(idempotency: IdempotencyStore) -> None:
    assert await idempotency.claim("key", _id("1"), "digest-1") == IdempotencyRecord(_id("1"), "digest-1")
    assert await idempotency.claim("key", _id("2"), "digest-2") == IdempotencyRecord(_id("1"), "digest-1")
    assert await idempotency.claim("key", _id("1"), "digest-1") == IdempotencyRecord(_id("1"), "digest-1")
    assert await idempotency.claim("other", _id("2"), "digest-2") == IdempotencyRecord(_id("2"), "digest-2")


async def test_an_idempotency_key_knows_whether_its_job_was_written(
    idempotency: IdempotencyStore, redis: ArqRedis, keys: Keys
) -> None:
    """The mark lives no longer than the key, and does not recreate an expired key."""
    record = await idempotency.claim("key", _id("1"), "digest-1")
    name = keys.idempotency(key_digest("key"))
    await idempotency.mark_written("key", record)
    assert await idempotency.claim("key", _id("2"), "digest-1") == IdempotencyRecord(_id("1"), "digest-1", written=True)
    await redis.pexpire(name, 50_000)
    await idempotency.mark_written("key", record)
    assert 0 < await redis.pttl(name) <= 50_000
    await idempotency.release(key_digest("key"), _id("2"))
    assert await redis.exists(name), "another job's"
    await idempotency.release(key_digest("key"), _id("1"))
    await idempotency.mark_written("key", record)
    assert not await redis.exists(name)


async def test_of_many_submits_with_one_idempotency_key_one_wins(idempotency: IdempotencyStore) -> None:
    answers = await asyncio.gather(*(idempotency.claim("key", _id(str(n)), "d") for n in range(20)))
    assert len(set(answers)) == 1


async def test_an_idempotency_key_is_kept_as_a_digest_only_and_has_a_time_to_live(
    idempotency: IdempotencyStore, redis: ArqRedis, keys: Keys
) -> None:
    await idempotency.claim("secret key \u2028 " + "x" * 10_000, _id("1"), "d")
    [name] = await redis.keys("*")
    assert name.decode().startswith(keys.idempotency(""))
    assert len(name) < 100
    assert 0 < await redis.pttl(name) <= 86_400_000
