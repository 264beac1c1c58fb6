"""A corrupt key or a forged message harms at most the job that it belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import httpx2
import pytest
from arq.connections import ArqRedis

from readalong.core.keys import Keys, new_job_id
from readalong.core.settings import Settings
from readalong.core.states import TERMINAL
from readalong.redis.client import connect
from readalong.store.job_record import LISTED
from tests.api.serving import Site, a_site, on_valkey
from tests.support.waiting import until
from tests.worker.helpers import Working, demo_at, settings_for, working

#: Seconds for each case: each key is corrupted in each way.
pytestmark = [pytest.mark.slow, on_valkey]

HUGE: Final = b"\xff" * 1_000_000
#: A hundred members that are not job ids: more than one page of a scan.
STRAYS: Final = [b"\xff\xfe", b"", b"a b{c}:d\n", "é" * 20, HUGE, *(b"\x80%d" % number for number in range(100))]
SCORES: Final = ("-inf", "+inf", "1e300", "-1e300", "0.5")


class Place:
    """An API and a worker on one Redis, and a client of that Redis."""

    def __init__(self, site: Site, worker: Working, redis: ArqRedis, keys: Keys) -> None:
        self.site = site
        self.redis = redis
        self.keys = keys
        self._worker = worker

    async def submit(self, model: str = "demo-fast", **more: Any) -> str:
        body = {"messages": [{"role": "user", "content": "x"}], "model": model, **more}
        answer = await self.site.http.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    async def show(self, job_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = (await self.site.http.get(f"/v1/jobs/{job_id}")).json()
        return shown

    async def is_at(self, job_id: str, *statuses: str) -> None:
        async def there() -> bool:
            return (await self.show(job_id)).get("status") in statuses

        await until(there, f"{job_id} to be {statuses}")

    async def goes_on(self) -> None:
        """A new job runs to its end, and the lists work."""
        job_id = await self.submit()
        await self.is_at(job_id, "done")
        for query in ("", "?status=done", "?status=queued", "?model=demo-fast", "?created_after=1"):
            answer = await self.site.http.get(f"/v1/jobs{query}")
            assert answer.status_code == 200, answer.text
        await until(self._ready, "the worker's sign of life")
        assert not self._worker.task.done()

    async def _ready(self) -> bool:
        return (await self.site.http.get("/readyz")).status_code == 200


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return settings_for(redis_url, sweep_interval=0.1, poll_interval=0.05, feed_linger=0.1)


@asynccontextmanager
async def a_place(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    redis = connect(settings)
    try:
        async with demo_at(monkeypatch), a_site(settings) as site, working(settings) as worker:
            yield Place(site, worker, redis, settings.keys)
    finally:
        await redis.aclose()


def of_other_types(kind: str) -> list[tuple[str, list[Any]]]:
    """Returns commands that make a key of each type but this one, without the key."""
    made: dict[str, list[Any]] = {
        "string": ["SET", b"\xff"],
        "list": ["RPUSH", b"\xff"],
        "hash": ["HSET", b"\xff", b"\xff"],
        "set": ["SADD", b"\xff"],
        "zset": ["ZADD", 1, b"\xff"],
        "stream": ["XADD", "1-1", b"\xff", b"\xff"],
    }
    return [(name, words) for name, words in made.items() if name != kind]


async def put(redis: ArqRedis, key: str, words: list[Any]) -> None:
    async with redis.pipeline(transaction=True) as pipe:
        pipe.delete(key)
        pipe.execute_command(words[0], key, *words[1:])
        await pipe.execute()


def shared_keys() -> list[str]:
    """Returns the shared keys, without those named after a worker."""
    return [*Keys().shared, Keys().worker("w1"), Keys().last_acquire("w1"), Keys().jobs_of("demo-fast")]


@pytest.mark.parametrize("key", shared_keys())
async def test_a_shared_key_of_a_wrong_type_is_moved_aside_and_all_goes_on(
    key: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Running jobs continue and end."""
    kind = settings.keys.type_of(key)
    assert kind
    async with a_place(settings, monkeypatch) as place:
        await place.goes_on()
        runs = await place.submit("demo", demo={"tokens_per_second": 20, "tokens": 20})
        for _, words in of_other_types(kind):
            await put(place.redis, key, words)
            await place.goes_on()
        await place.is_at(runs, "done")


@pytest.mark.parametrize("key", [name for name in shared_keys() if Keys().type_of(name) == "zset"])
async def test_what_is_no_id_or_no_time_in_a_sorted_set_is_passed_over(
    key: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes, blanks, megabytes, and a hundred members before all others; ids of existing and missing jobs, with scores
    that no clock gives.
    """
    zadd: Any
    async with a_place(settings, monkeypatch) as place:
        zadd = place.redis.execute_command
        runs = await place.submit("demo-hang")
        await place.is_at(runs, "running")
        ended = await place.submit()
        await place.is_at(ended, "done")
        for score in ("0", *SCORES):
            await zadd("ZADD", key, *(part for stray in STRAYS for part in (score, stray)))
            for job_id in (runs, ended, new_job_id()):
                await zadd("ZADD", key, score, job_id)
            await place.goes_on()
        assert (await place.site.http.post(f"/v1/jobs/{runs}/cancel")).status_code == 202
        await place.is_at(runs, "cancelled")
        for job_id in (runs, ended):
            assert (await place.site.http.delete(f"/v1/jobs/{job_id}")).status_code == 204


@pytest.mark.parametrize("value", [b"", b"\xff", b"nan", b"inf", b"-1e400", b"[]", HUGE])
async def test_a_string_that_readalong_did_not_write_is_passed_over(
    value: bytes, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each shared string, without a time to live, and in an Idempotency-Key, which is claimed again."""
    names = [name for name in shared_keys() if Keys().type_of(name) == "string"]
    async with a_place(settings, monkeypatch) as place:
        for name in names:
            await place.redis.set(name, value)
        await place.goes_on()
        tied = {"Idempotency-Key": "k"}
        body = {"messages": [{"role": "user", "content": "x"}], "model": "demo-fast"}
        assert (await place.site.http.post("/v1/jobs", json=body, headers=tied)).status_code == 202
        [name] = await place.redis.keys(place.keys.idempotency("*"))
        for words in (["SET", value], ["RPUSH", value]):
            await put(place.redis, name.decode(), words)
            ids = {(await place.site.http.post("/v1/jobs", json=body, headers=tied)).json()["id"] for _ in range(2)}
            assert len(ids) == 1
            await place.is_at(ids.pop(), "done")
        # A sweep lock without a time to live would stop all sweeps.
        lost = await place.submit("demo-hang")
        await place.is_at(lost, "running")
        await place.redis.set(place.keys.cancel(lost), "me")
        await place.is_at(lost, "cancelled")
        await until(lambda: _has_ttl(place.redis, place.keys.sweep), "the sweep's key to expire one day")


async def _has_ttl(redis: ArqRedis, name: str) -> bool:
    ttl: int = await redis.pttl(name)
    return ttl != -1


#: Values of a hash field, or its absence: no number, no time, no text, no JSON of readalong.
VALUES: Final = (None, b"\xff", b"9" * 30, b'{"a":' * 600 + b"1" + b"}" * 600)
#: Fields of a job's hash that only scripts read.
HIDDEN: Final = ("claim", "fence", "lost", "handover", "max_attempts", "request")


async def broken(redis: ArqRedis, key: str, field: str, value: bytes | None) -> None:
    """Sets a field of a hash, or removes the field."""
    client: Any = redis
    await (client.hdel(key, field) if value is None else client.hset(key, field, value))


async def hurts_itself_alone(place: Place, job_id: str) -> None:
    """Each call for the job gets a clear response; DELETE erases it."""
    path = f"/v1/jobs/{job_id}"
    for method, tail in (("GET", ""), ("POST", "/cancel")):
        answer = await place.site.http.request(method, path + tail)
        assert_clear(answer)
    with suppress(TimeoutError):  # of a job that does not end by itself
        async with asyncio.timeout(0.05), place.site.http.stream("GET", f"{path}/events") as stream:
            if stream.status_code != 200:
                await stream.aread()
                assert_clear(stream)
    answer = await place.site.http.delete(path)
    if answer.status_code == 503:  # the field says that the job is of another version
        assert answer.json()["code"] == "unknown_schema"
        await place.redis.delete(place.keys.job(job_id))
        answer = await place.site.http.delete(path)
    assert answer.status_code == 204, answer.text
    assert (await place.site.http.get(path)).status_code == 404
    left = {place.keys.cancel(job_id), place.keys.arq_retry(job_id)}

    async def gone() -> bool:
        return {name.decode() for name in await place.redis.keys(f"*{job_id}*")} <= left

    await until(gone, "its worker to see that it is erased")


def assert_clear(answer: httpx2.Response) -> None:
    assert answer.status_code in (200, 202, 204, 404, 410, 500, 503), answer.text
    if answer.status_code == 500:
        assert answer.json()["code"] == "broken_job", answer.text
    if answer.status_code == 503:
        assert answer.json()["code"] == "unknown_schema", answer.text


@pytest.mark.parametrize("state", ["done", "running"])
async def test_a_broken_field_of_a_jobs_hash_hurts_that_job_alone(
    state: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ended or running job is listed or left out, shown or reported as broken, and erased."""
    async with a_place(settings, monkeypatch) as place:
        for value in VALUES:
            fields = [*(name.decode() for name in LISTED), *HIDDEN]
            jobs = [await place.submit("demo-fast" if state == "done" else "demo-hang") for _ in fields]
            for job_id, field in zip(jobs, fields, strict=True):
                await place.is_at(job_id, state)
                await broken(place.redis, place.keys.job(job_id), field, value)
            await place.goes_on()
            await asyncio.gather(*(hurts_itself_alone(place, job_id) for job_id in jobs))
            await place.goes_on()


@pytest.mark.parametrize("state", ["done", "running"])
@pytest.mark.parametrize("name", ["job", "events", "cancel", "arq_job", "arq_in_progress", "arq_retry"])
async def test_a_jobs_key_of_a_wrong_type_hurts_that_job_alone(
    name: str, state: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also bytes where a string belongs, and log entries that are no event."""
    async with a_place(settings, monkeypatch) as place:
        ways = [words for _, words in of_other_types("none")]
        ways += [["SET", HUGE], ["XADD", "1-7", "type", b"\xff"], ["XADD", "9-0", "type", "done", "data", "["]]
        jobs = [await place.submit("demo-fast" if state == "done" else "demo-hang") for _ in ways]
        for job_id, words in zip(jobs, ways, strict=True):
            await place.is_at(job_id, state)
            await put(place.redis, getattr(place.keys, name)(job_id), words)
        await place.goes_on()
        await asyncio.gather(*(hurts_itself_alone(place, job_id) for job_id in jobs))
        await place.goes_on()


async def test_whatever_is_published_on_a_channel_ends_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The channels are control, a hub's heartbeat and a job's live channel.

    A forged event harms that job's watchers only.
    """
    said = [
        *(b"", b"\xff", HUGE, b"[]", b"1", b"null", b'"x"', b"[" * 5000, b'{"look_at":[]}', b'{"look_at":{}}'),
        *(b'{"look_at":"x","flag":1}', b"erased!", b'{"id":', b'{"id":x,"type":"content",', b'{"id":-1,"type":"x"}'),
        *(b'{"id":99999999999999999999999,"type":"content","content":""}', b'{"id":3,"type":"\xff","content":""}'),
    ]
    async with a_place(settings, monkeypatch) as place:
        runs = await place.submit("demo", demo={"tokens_per_second": 50, "tokens": 50})
        async with await place.site.open(f"/v1/jobs/{runs}/events") as stream:
            await stream.some(1)
            channels = await place.redis.pubsub_channels()
            assert {place.keys.control.encode(), place.keys.live(runs).encode()} <= set(channels)
            for channel in channels:
                for message in said:
                    await place.redis.publish(channel, message)
            assert (await stream.rest())[-1].event in TERMINAL
        await place.goes_on()
