"""Each line of docs/redis.md's cookbook does what its text says."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from readalong.core.events import merge
from readalong.core.options import JobOptions
from readalong.core.settings import Settings
from readalong.redis.client import connect
from readalong.redis.facade import RedisFacade
from readalong.store.job_index import JobIndex
from readalong.store.job_record import Record
from readalong.store.log import Log
from readalong.store.queue import Queue
from readalong.store.submission import Submission
from readalong.store.worker_registry import WorkerRegistry
from tests.support.waiting import WITHIN, until

_ROOT = Path(__file__).parents[2]
_ID = "cookbook-job-0123456789"


def _lines(page: str) -> list[str]:
    text = (_ROOT / page).read_text()
    return [
        line.partition("  #")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("redis-cli")
    ]


COOKBOOK = _lines("docs/redis.md")


class Shell:
    """Runs a line as a person types it; without a redis-cli it sends the line's command."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(self, line: str, until: bytes | None = None) -> str:
        """Returns the line's output; with `until`, for a line that does not end by itself, up to that text."""
        words = shlex.split(line.replace("ID", _ID))[1:]
        if shutil.which("redis-cli"):
            return await self._cli(words, until)
        return await self._client(words, until)

    async def _cli(self, words: list[str], until: bytes | None) -> str:
        process = await asyncio.create_subprocess_exec(
            "redis-cli", "-u", str(self._settings.redis_url), *words, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        if until is None:
            printed, _ = await process.communicate()
            return printed.decode()
        seen = b""
        while until not in seen:
            piece = await process.stdout.readline()
            assert piece, f"redis-cli ended with {seen!r}"
            seen += piece
        process.kill()
        await process.communicate()
        return seen.decode()

    async def _client(self, words: list[str], until: bytes | None) -> str:
        words = [word for word in words if word != "--raw"]
        redis = connect(self._settings)
        try:
            if words[0] == "--scan":
                return "\n".join([key.decode() async for key in redis.scan_iter(words[2])])
            if until is None:
                call: Callable[..., Awaitable[Any]] = redis.execute_command
                return _printed(await call(*words))
            pubsub = redis.pubsub()
            await pubsub.subscribe(words[1])
            while (message := await pubsub.get_message(timeout=100.0)) is not None:
                if message["type"] == "message" and until in message["data"]:
                    await pubsub.aclose()
                    return str(message["data"].decode())
            raise AssertionError("nothing was published")
        finally:
            await redis.aclose()


def _printed(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple):
        return "\n".join(map(_printed, value))
    if isinstance(value, dict):
        return "\n".join(f"{_printed(key)}\n{_printed(part)}" for key, part in value.items())
    return str(value)


class Kitchen:
    """A running job with three words in its log, and a worker."""

    def __init__(self, url: str) -> None:
        self.settings = Settings(redis_url=url)
        self.redis = connect(self.settings)
        self.log = Log(RedisFacade(self.redis, self.settings), self.settings)
        self.index = JobIndex(RedisFacade(self.redis, self.settings), self.settings)
        self.queue = Queue(RedisFacade(self.redis, self.settings), self.settings)
        self.shell = Shell(self.settings)

    async def fill(self, *, for_watchers: bool = False) -> None:
        """`for_watchers`: the job is to end without watchers."""
        terms = JobOptions(cancel_on_disconnect=for_watchers)
        now = await self.index.now()
        await self.log.submit(Submission(_ID, "demo", b'{"messages":[]}', b"{}", "digest", now, terms=terms))
        await self.queue.enqueue(_ID, now, model="demo")
        await self.queue.acquire("cook", 1)
        await WorkerRegistry(RedisFacade(self.redis, self.settings), self.settings).heartbeat(
            "cook", b'{"host":"kitchen"}', now, 60_000
        )
        await self.log.claim(_ID, b'{"id":"cook"}', "token")
        words = [("content", orjson.dumps({"content": word})) for word in ("one", " two", " three")]
        await self.log.append(_ID, 1, 3, words)

    async def record(self) -> Record:
        record = await self.log.record(_ID)
        assert record is not None
        return record


@pytest.fixture
def kitchen(redis_url: str, resources: AsyncExitStack) -> Kitchen:
    kitchen = Kitchen(redis_url)
    resources.push_async_callback(kitchen.redis.aclose)
    return kitchen


#: The required output of each line, by its beginning.
EXPECTED = {
    "redis-cli zrevrange readalong:jobs 0": [_ID],
    "redis-cli zrevrange readalong:jobs:failed": [""],
    "redis-cli zrange arq:queue": [_ID],
    "redis-cli zrange readalong:leases": [_ID],
    "redis-cli get 'arq:in-progress": ["cook"],
    "redis-cli hmget": ["running", "demo", '{"id":"cook"}', "5"],
    "redis-cli xrange 'readalong:job:{ID}:events' - +": ["queued", '{"content":" three"}', "5-0"],
    "redis-cli zrange readalong:workers": ["cook"],
    "redis-cli zrangebylex": [_ID],
    "redis-cli --scan --pattern 'readalong:worker": ["readalong:worker:cook"],
    "redis-cli --scan --pattern 'readalong:stats": ["readalong:stats:"],
}


@pytest.mark.parametrize("line", [line for line in COOKBOOK if any(map(line.startswith, EXPECTED))])
async def test_a_line_that_looks_prints_what_is_there(line: str, kitchen: Kitchen) -> None:
    """Each line that only reads shows the job, its log, its worker."""
    await kitchen.fill()
    printed = await kitchen.shell(line)
    for words in next(words for start, words in EXPECTED.items() if line.startswith(start)):
        assert words in printed


async def test_a_worker_whose_process_lives_is_seen_by_its_channel(kitchen: Kitchen) -> None:
    """A dead worker may still be registered."""
    await kitchen.fill()
    line = next(line for line in COOKBOOK if "pubsub channels" in line)
    assert (await kitchen.shell(line)).strip() == ""
    async with kitchen.redis.pubsub() as pubsub:
        await pubsub.subscribe(kitchen.settings.keys.alive("cook"))
        assert await pubsub.get_message(timeout=WITHIN)
        assert (await kitchen.shell(line)).strip() == "readalong:alive:cook"


async def test_the_log_is_read_after_a_position(kitchen: Kitchen) -> None:
    """`(N-0` skips the events up to N."""
    await kitchen.fill()
    line = next(line for line in COOKBOOK if "'(10-0'" in line).replace("10-0", "4-0")
    printed = await kitchen.shell(line)
    assert " three" in printed
    assert " two" not in printed


@pytest.mark.parametrize("compacted", [False, True])
async def test_the_end_of_a_log_has_its_text(compacted: bool, kitchen: Kitchen) -> None:
    """With a compacted log and without. The entries of a compacted log are as docs/redis.md says."""
    await kitchen.fill()
    await kitchen.log.finish(_ID, 1, 6, [("done", b'{"content":"one two three"}')], {})
    if compacted:
        assert await kitchen.log.compact(_ID, 1, 3, list(merge(await kitchen.log.read(_ID, 2, 10))))
        entries = (await kitchen.shell("redis-cli xrange 'readalong:job:{ID}:events' - +")).split()
        assert entries[entries.index("5-0") :][:9] == [
            "5-0",
            "type",
            "content",
            "data",
            "{}",
            "pieces",
            "3,4,6",
            "from",
            "0",
        ]
    line = next(line for line in COOKBOOK if "xrevrange" in line)
    printed = (await kitchen.shell(line)).split("\n")
    assert [part.strip() for part in printed if part] == ["6-0", "type", "done", "data", '{"content":"one two three"}']


async def test_the_metrics_are_there_at_the_end(kitchen: Kitchen) -> None:
    """An ended job's metrics are JSON in its hash."""
    await kitchen.fill()
    await kitchen.log.finish(_ID, 1, 6, [("done", b'{"content":""}')], {"metrics": b'{"chunk_count":3}'})
    line = next(line for line in COOKBOOK if "metrics" in line)
    assert orjson.loads(await kitchen.shell(line)) == {"chunk_count": 3}


async def test_a_job_is_followed_live(kitchen: Kitchen) -> None:
    """SUBSCRIBE shows each append as lines of JSON."""
    await kitchen.fill()
    line = next(line for line in COOKBOOK if "subscribe" in line)
    following = asyncio.create_task(kitchen.shell(line, until=b" four"))
    channel = kitchen.settings.keys.live(_ID)

    async def follows() -> bool:
        return bool(dict(await kitchen.redis.pubsub_numsub(channel))[channel.encode()])

    await until(follows)
    await kitchen.log.append(_ID, 1, 6, [("content", b'{"content":" four"}')])
    last = (await following).strip().splitlines()[-1]
    assert orjson.loads(last) == {"seq": 6, "type": "content", "content": " four"}


async def test_all_jobs_are_followed_live(kitchen: Kitchen) -> None:
    """SUBSCRIBE shows each change of a job's state, and no token."""
    await kitchen.fill()
    line = next(line for line in COOKBOOK if "subscribe readalong:changes" in line)
    following = asyncio.create_task(kitchen.shell(line, until=b"done"))
    channel = kitchen.settings.keys.changes

    async def follows() -> bool:
        return bool(dict(await kitchen.redis.pubsub_numsub(channel))[channel.encode()])

    await until(follows)
    await kitchen.log.append(_ID, 1, 6, [("content", b'{"content":" four"}')])
    await kitchen.log.finish(_ID, 1, 7, [("done", b'{"content":""}')], {})
    last = [json for json in (await following).strip().splitlines() if json.startswith("{")]
    assert [orjson.loads(json) for json in last] == [{"id": _ID, "type": "done"}]


async def test_a_job_is_cancelled_by_hand(kitchen: Kitchen) -> None:
    """The next append returns the flag set by hand."""
    await kitchen.fill()
    line = next(line for line in COOKBOOK if " set " in line)
    await kitchen.shell(line)
    answer = await kitchen.log.append(_ID, 1, 6, [("content", b'{"content":" four"}')])
    assert answer.cancel_flag == "Ada, on call"


async def test_a_job_is_told_by_hand_to_outlive_its_watchers(kitchen: Kitchen) -> None:
    """Code that cancels orphans reads the hash, not the set."""
    await kitchen.fill(for_watchers=True)
    assert await kitchen.log.filter_cancel_on_disconnect([_ID]) == [_ID]
    line = next(line for line in COOKBOOK if " hset " in line)
    await kitchen.shell(line)
    assert await kitchen.log.filter_cancel_on_disconnect([_ID]) == []


def test_every_line_of_the_cookbook_is_tried() -> None:
    """Each line is tested, and the README shows only lines of the cookbook."""
    tried = [
        *EXPECTED,
        "redis-cli hget",
        "redis-cli --raw subscribe",
        "redis-cli set",
        "redis-cli hset",
        "redis-cli pubsub channels",
        "redis-cli xrange",
        "redis-cli xrevrange",
    ]
    assert len(COOKBOOK) == 19
    assert [line for line in COOKBOOK if not any(map(line.startswith, tried))] == []
    assert [line for line in _lines("README.md") if line not in COOKBOOK] == []
