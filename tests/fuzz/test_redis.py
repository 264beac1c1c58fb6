"""With random keys and messages in Redis, a job whose own keys are left alone runs as usual."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any, Final

import pytest
from redis.exceptions import ResponseError

from readalong.core.keys import new_job_id
from readalong.core.settings import Settings
from readalong.core.sse import Message
from tests.api.serving import on_valkey
from tests.e2e.test_broken_keys import SCORES, STRAYS, Place, a_place, shared_keys
from tests.fuzz.effort import SEED, TIMES
from tests.support.waiting import WITHIN
from tests.worker.helpers import settings_for

pytestmark = on_valkey

#: Watchers of the job, and random writes while it runs.
WATCHERS, ACTS = 3, 400
#: Strings that a parser may fail on.
VALUES: Final[list[bytes]] = [b"", b"\xff", b"0", b"nan", b"[]", b"{}", b"-1", b"x" * 9999]


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return settings_for(redis_url, sweep_interval=0.1, poll_interval=0.05, feed_linger=0.1, hub_heartbeat=0.3)


class RedisFuzzer:
    """Draws random writes; `spared` is the job that they leave alone."""

    def __init__(self, place: Place, victims: list[str], spared: str, rng: Random) -> None:
        self._place = place
        self._victims = victims
        self._spared = spared
        self._rng = rng

    async def act(self) -> None:
        rng = self._rng
        client: Any = self._place.redis
        if rng.random() < 0.5:
            channels = [channel.decode() for channel in await client.pubsub_channels()]
            channels += [self._place.keys.control, self._place.keys.live(rng.choice(self._victims))]
            channel = rng.choice(channels)
            await client.publish(channel, self._message(forged=self._spared not in channel))
            return
        with suppress(ResponseError):  # the key has another type
            await client.execute_command(*self._command(self._key()))

    def _bytes(self) -> bytes:
        drawn = self._rng.randbytes(9)
        return self._rng.choice([*VALUES, drawn])

    def _message(self, *, forged: bool) -> bytes:
        """`forged`: the message may be an event as the scripts publish it."""
        rng = self._rng
        id_ = rng.choice([b"1", b"-1", b"0", b"99", b"9" * 30, b"x", b"7.5"])
        event = b'{"id":%b,"type":"%b","content":"no"}' % (id_, rng.choice([b"content", b"done", b"\xff", b""]))
        job_id = rng.choice([*self._victims, self._spared, new_job_id(), "", "\0"]).encode()
        nudge = b'{"look_at":%b}' % rng.choice([b'"%b"' % job_id, b"[]", b"1", b'["%b"]' % job_id])
        lines = [self._bytes(), nudge, b"erased", b"erased!", event[: rng.randrange(len(event))], *([event] * forged)]
        return b"\n".join(rng.choices(lines, k=rng.choice([1, 1, 2, 3])))

    def _key(self) -> str:
        keys, victim = self._place.keys, self._rng.choice(self._victims)
        own: list[Callable[[str], str]] = [keys.job, keys.events, keys.cancel, keys.arq_job, keys.arq_in_progress]
        return self._rng.choice([*shared_keys(), *(name(victim) for name in own)])

    def _command(self, key: str) -> list[Any]:
        rng = self._rng
        member = rng.choice([*STRAYS[:5], *self._victims, new_job_id(), self._bytes()])
        return rng.choice(
            [
                ["SET", key, self._bytes()],
                ["ZADD", key, rng.choice(SCORES), member],
                ["RPUSH", key, self._bytes()],
                ["HSET", key, rng.choice([b"status", b"attempt", b"last_seq", b"worker", b"\xff"]), self._bytes()],
                ["SADD", key, self._bytes()],
                ["XADD", key, "*", b"type", self._bytes()],
                ["SETRANGE", key, 1, self._bytes()],
                ["PEXPIRE", key, rng.choice([1, 50, 10**12])],
                ["DEL", key],
            ]
        )


async def test_a_job_that_is_left_alone_is_watched_to_its_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its watchers sees its log exactly, and no task of API or worker has died afterwards."""
    async with a_place(settings, monkeypatch) as place:
        rng = Random(SEED)
        acts = int(ACTS * TIMES)
        spared = await place.submit("demo", demo={"tokens_per_second": 50, "tokens": 150})
        victims = [await place.submit(model) for model in ("demo-hang", "demo-fast", "demo")]
        streams = [await place.site.open(f"/v1/jobs/{spared}/events") for _ in range(WATCHERS)]
        try:
            seen = [asyncio.create_task(stream.rest()) for stream in streams]
            fuzzer = RedisFuzzer(place, victims, spared, rng)
            for _ in range(acts):
                await fuzzer.act()
            async with asyncio.timeout(WITHIN):
                watched: list[list[Message]] = await asyncio.gather(*seen)
        finally:
            for stream in streams:
                stream.vanish()
        log = await place.site.watch(spared)
        assert log[-1].event == "done"
        assert [int(message.id.partition("-")[0]) for message in watched[0]] == list(range(1, len(watched[0]) + 1))
        assert all(messages == watched[0] for messages in watched)
        for victim in victims:
            await place.redis.delete(*(await place.redis.keys(f"*{victim}*") or ["none"]))
        await place.goes_on()
