"""An API dies in the middle of a submit: whatever state remains, any repair leads to one job and one generation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import orjson
import pytest

from readalong.api.submission.submitter import _digest
from readalong.core.keys import new_job_id
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store.idempotency import IdempotencyStore, key_digest
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.queue import Queue
from readalong.store.submission import Submission
from tests.e2e.conftest import healed
from tests.e2e.jobs import Job, paced, submit
from tests.support.client import Cut, call
from tests.support.history import assert_whole
from tests.support.proxy import Proxy
from tests.support.stack import Stack
from tests.support.waiting import until

#: The steps of a submit, in order; each case has all steps up to its own.
STEPS = ("remember", "write", "enqueue", "settle")
#: Jobs of each kind in a test that leaves the order to chance.
MANY = 8


@pytest.fixture(scope="module")
def running_pair() -> Iterator[Stack]:
    # A delayed worker must not restart a job: this test counts generations.
    with Stack(apis=2, workers=2, settings={"READALONG_LEASE": "6"}) as stack:
        yield stack


@pytest.fixture
def stack(running_pair: Stack) -> Iterator[Stack]:
    """Two APIs and two workers."""
    yield from healed(running_pair)


class Dead:
    """An API that died in the middle of a submit a minute ago: the sweep leaves younger submits alone."""

    def __init__(self, stack: Stack, step: str) -> None:
        """`step`: the last step that it took."""
        self.stack = stack
        self.body = paced(tokens=5, rate=0)
        self.key = {"Idempotency-Key": uuid4().hex}
        self.job = Job(stack, self.body, {"id": new_job_id()})
        self._step = STEPS.index(step)

    async def die(self) -> None:
        """Writes to Redis what its steps wrote."""
        settings = Settings.model_validate({"redis_url": self.stack.redis.url, "redis_timeout": 60})
        redis = RedisFacade.connect(settings)
        index, log, queue = JobIndex(redis, settings), Log(redis, settings), Queue(redis, settings)
        idempotency = IdempotencyStore(redis, settings)
        digest = _digest(self.body)
        key = self.key["Idempotency-Key"]
        then = await index.now() - 60_000
        new = Submission(self.job.id, "demo", orjson.dumps(self.body), b"{}", digest, then, key_digest=key_digest(key))
        record = await idempotency.claim(key, self.job.id, digest)
        steps: list[Callable[[], Awaitable[object]]] = [
            lambda: log.submit(new),
            lambda: queue.enqueue(self.job.id, then),
        ]
        for step in steps[: self._step]:
            await step()
        if self._step == STEPS.index("settle"):
            await idempotency.mark_written(key, record)
        await redis.close()

    async def repeat(self, url: str) -> None:
        """The client submits again with its key and gets the same job."""
        assert (await submit(self.stack, self.body, url=url, headers=self.key)).id == self.job.id

    @property
    def written(self) -> bool:
        return self._step >= STEPS.index("write")


async def assert_one_generation(*jobs: Job) -> None:
    """Each job is done, once, after one model call; index and queue have dropped it."""
    for job in jobs:
        shown = await job.ended()
        assert (shown["status"], shown["attempt"], shown["content"]) == ("done", 1, job.text)
        assert_whole(job.stack.log_of(job.id))
    redis, keys = jobs[0].stack.redis, jobs[0].stack.keys
    await until(
        lambda: redis.command("ZCARD", keys.queue) == redis.command("ZCARD", keys.active) == 0, "all to be over"
    )
    for job in jobs:
        assert len(job.stack.generations(job.question)) == 1
    assert sorted(redis.command("ZRANGE", keys.jobs, 0, -1)) == sorted(job.id for job in jobs)


@pytest.mark.parametrize("step", STEPS)
async def test_the_sweep_alone_runs_what_was_written_and_forgets_the_rest(stack: Stack, step: str) -> None:
    """The client never returns. A job that was not written was never accepted."""
    dead = Dead(stack, step)
    await dead.die()
    if dead.written:
        await assert_one_generation(dead.job)
        return
    await until(lambda: stack.redis.command("ZCARD", stack.keys.active) == 0, "the sweep")
    assert (await call("GET", f"{stack.url}/v1/jobs/{dead.job.id}")).status in (404, 410)
    assert (await call("GET", f"{stack.url}/v1/jobs")).json()["jobs"] == []
    assert stack.generations(dead.job.question) == []


@pytest.mark.parametrize("step", STEPS)
async def test_a_repeat_completes_the_job_at_once(stack: Stack, step: str) -> None:
    """At both replicas at the same moment, with the sweep held back."""
    stack.redis.command("SET", stack.keys.sweep, "1", "EX", "3600")
    dead = Dead(stack, step)
    await dead.die()
    await asyncio.gather(*(dead.repeat(url) for url in stack.urls * 3))
    await assert_one_generation(dead.job)


@pytest.mark.slow
async def test_sweep_and_repeats_at_the_same_time_make_one_job_of_each(stack: Stack) -> None:
    """Many submits, at all steps, repeated while sweeps run."""
    dead = [Dead(stack, step) for step in STEPS for _ in range(MANY)]
    await asyncio.gather(*(api.die() for api in dead))

    async def mend(place: int) -> None:
        await asyncio.sleep(place / len(dead))  # spread over two sweeps
        await asyncio.gather(*(dead[place].repeat(url) for url in stack.urls))

    await asyncio.gather(*(mend(place) for place in range(len(dead))))
    await assert_one_generation(*(api.job for api in dead))


async def test_two_clients_with_one_key_at_the_same_moment_get_one_job(stack: Stack) -> None:
    """The submits go to two replicas, many times."""
    bodies = [paced(tokens=3, rate=0) for _ in range(MANY)]
    keys = [{"Idempotency-Key": uuid4().hex} for _ in bodies]
    jobs = []
    for body, key in zip(bodies, keys, strict=True):
        one, other = await asyncio.gather(*(submit(stack, body, url=url, headers=key) for url in stack.urls))
        assert one.id == other.id
        jobs.append(one)
    await assert_one_generation(*jobs)


@asynccontextmanager
async def killed_before(stack: Stack, step: int) -> AsyncIterator[str]:
    """Returns the URL of an API that is killed before this step of its second submit, or of any later one."""
    api = stack.apis[0]
    async with Proxy(stack.redis.port) as proxy:
        seen = [0]

        def admits(words: list[bytes]) -> bool:
            if not _is_step(stack, words):
                return True
            # The server learns the scripts in the first submit.
            seen[0] += 1
            if armed.is_set() and seen[0] > step:
                api.kill()
                return False
            return True

        armed = asyncio.Event()
        proxy.admits = admits
        api.restart(READALONG_REDIS_URL=proxy.url)
        await asyncio.to_thread(stack.wait_ready)
        await submit(stack, paced(tokens=1, rate=0))
        seen[0] = 0
        armed.set()
        yield api.url


def _is_step(stack: Stack, words: list[bytes]) -> bool:
    """Whether a command is one of STEPS."""
    keys = stack.keys
    first = words[3].decode() if words[0] in (b"EVALSHA", b"EVAL") else ""
    return (
        first.startswith((keys.idempotency(""), keys.job("")[:-2]))
        or (words[0] == b"SET" and words[1].decode().startswith(keys.idempotency("")))
        or (first == keys.queue and int(words[2]) > 3)
    )


@pytest.mark.parametrize("step", range(len(STEPS)))
async def test_an_api_that_is_killed_at_any_step_of_a_submit_costs_the_client_a_repeat(stack: Stack, step: int) -> None:
    """The client gets no response, and asks another replica with its key."""
    body, key = paced(tokens=5, rate=0), {"Idempotency-Key": uuid4().hex}
    # A sweep would list the written job.
    stack.redis.command("SET", stack.keys.sweep, "1", "EX", "3600")
    async with killed_before(stack, step) as url:
        with pytest.raises(Cut):
            await submit(stack, body, url=url, headers=key)
        assert not stack.apis[0].running
        names, jobs = stack.key_names(), stack.keys.job("")[:-1]
        left = {
            "remember": any(name.startswith(stack.keys.idempotency("")) for name in names),
            "write": sum(name.startswith(jobs) and stack.redis.command("TYPE", name) == "hash" for name in names) == 2,
            "enqueue": stack.redis.command("ZCARD", stack.keys.jobs) == 2,
        }
        assert left == {name: STEPS.index(name) < step for name in left}, "it died where it should"
        job = await submit(stack, body, url=stack.urls[1], headers=key)
        assert (await job.ended(stack.urls[1]))["content"] == job.text
        assert len(stack.generations(job.question)) == 1
        assert len(stack.redis.command("ZRANGE", stack.keys.jobs, 0, -1)) == 2
