"""Requests that are cheap to send have cheap responses, and cost nothing once the client has disconnected."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from readalong.api.fanout.batch import Batch
from readalong.core.events import PAGE_SIZE, NewEvent
from readalong.core.settings import Settings
from readalong.core.sse import Decoder
from readalong.store.log import Log
from readalong.store.queue import Queue
from tests.api.fanout.test_watcher import all_paused, held_by
from tests.api.helpers import Client, Player, number, said, text
from tests.api.http.test_bad_clients import send
from tests.api.routes.test_jobs_page import add
from tests.api.serving import Site, a_hub, a_site, on_valkey, short_settings
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = on_valkey

#: The most bytes that may wait for a client: the transport's 64 KiB, and one write beyond that.
WAITING = 192 * 1024
END = "the end of it " * 600_000


class Reads:
    """Records the calls of one read method of the log, with their arguments. `before` is awaited before each call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.made: list[tuple[Any, ...]] = []
        self.before: Callable[[], Awaitable[None]] | None = None
        really = getattr(Log, name)

        async def read(log: Log, *asked: Any) -> Any:
            self.made.append(asked)
            if self.before is not None:
                await self.before()
            return await really(log, *asked)

        monkeypatch.setattr(Log, name, read)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch, "read_merged")


async def shown(site: Site, player: Player) -> dict[str, Any]:
    answer = await site.http.get(f"/v1/jobs/{player.job_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_an_ended_job_is_read_by_its_end_alone_and_a_running_one_a_page_at_a_time(
    settings: Settings, log: Log, redis_server: RedisServer, reads: Reads
) -> None:
    """A million events before the end once took seconds of CPU, for a request of a hundred bytes."""
    call = {"index": 0, "id": "c", "name": "f", "arguments": {}}
    player = await Player.start(log)
    for _ in range(3):
        await player.say(1000, pad="x" * 1000)
    await player.append(NewEvent("tool_call", call))
    async with a_site(settings) as site:
        running = await shown(site, player)
        assert reads.made == [(player.job_id, after, 1000) for after in (0, 1000, 2000, 3000)]
        await player.finish(content=running["content"][:1000], tool_calls=[call], finish_reason="stop")
        before = redis_server.command("INFO", "stats")["total_net_output_bytes"]
        ended = await shown(site, player)
        sent = redis_server.command("INFO", "stats")["total_net_output_bytes"] - before
    assert sent < 100_000, "bytes that Redis has sent, of a log of 3 MB"
    assert (ended["content"], ended["tool_calls"]) == (running["content"][:1000], running["tool_calls"])
    assert (ended["status"], ended["last_seq"]) == ("done", player.last)


async def test_an_end_that_does_not_say_all_is_not_taken_for_all(settings: Settings, log: Log) -> None:
    """An older worker wrote that end for a lost one. It named its epoch, and no calls."""
    call = {"index": 0, "id": "c", "name": "f", "arguments": {}}
    player = await Player.start(log)
    await player.append(NewEvent("content", {"content": "one"}), NewEvent("tool_call", call))
    await player.finish("failed", content="one", epoch="second")
    async with a_site(settings) as site:
        assert (await shown(site, player))["tool_calls"] == [call]


async def leaves(site: Site, reads: Reads, request: bytes, after: int) -> None:
    """Sends the request, and resets the connection in the middle of that read. Returns when no part of the request
    is left."""
    held = len(site.server.server_state.connections)
    _, writer = await send(site, request)

    async def leave() -> None:
        if len(reads.made) == after:
            writer.transport.abort()
            await until(lambda: len(site.server.server_state.connections) <= held, "the client's leave")

    reads.before = leave
    await until(lambda: len(reads.made) >= after, "the read")
    await until(lambda: not site.server.server_state.tasks, "the request's end")


async def test_a_long_log_is_not_read_on_for_a_client_that_has_gone(
    settings: Settings, log: Log, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readalong.store.log_reader._PAGE", 10)
    player = await Player.start(log)
    await player.say(1000)
    async with a_site(settings) as site:
        await leaves(site, reads, b"GET /v1/jobs/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % player.job_id.encode(), 2)
    assert len(reads.made) == 2


async def test_a_list_is_not_walked_on_for_a_client_that_has_gone(
    settings: Settings, log: Log, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter by state and model looks at a thousand other jobs, fifty at a time."""
    for at in range(400):
        await add(log, queue, 1000 + at)
    looks = Reads(monkeypatch, "records")
    # As if no job matched.
    monkeypatch.setattr("readalong.api.routes.jobs_page._size", lambda record: 0)
    monkeypatch.setattr("readalong.store.log_reader.record_of", lambda *_: None)
    async with a_site(settings) as site:
        await leaves(site, looks, b"GET /v1/jobs?status=queued&model=m&limit=1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 2)
    assert len(looks.made) == 2


async def test_a_replay_is_read_as_its_client_takes_it_and_ends_with_it(redis_url: str, log: Log, reads: Reads) -> None:
    """Data that is read and not yet sent is one write, besides the transport's buffer: no batch waits in addition."""
    player = await Player.start(log)
    pages = 30
    for _ in range(pages):
        await player.say(PAGE_SIZE, pad="x" * 1000)
    settings = short_settings(redis_url, replay_buffer_bytes=65_536, feed_linger=0, send_timeout=600)
    async with a_site(settings) as site, AsyncExitStack() as open_:
        ports = []
        for place in range(10):
            path = f"/v1/jobs/{player.job_id}/events?after={2 + 10 * place}"
            stream = await open_.enter_async_context(await site.open(path, receive_buffer=4096))
            ports.append(stream.writer.get_extra_info("sockname")[1])
        [feed] = site.hub._feeds.values()
        await until(lambda: len(feed.watchers) == len(ports) and all_paused(site), "the buffers to fill")
        await player.say(1)
        await until(lambda: feed.newest == player.last, "the newest event")
        assert all(0 < held_by(port, site) <= WAITING for port in ports)
        gc.collect()
        assert sum(isinstance(found, Batch) for found in gc.get_objects()) < len(ports)
        replayed = {asked[1] for asked in reads.made}
        assert len(replayed) < pages, "as many pages as the kernel has room for, and those of the feed's beginning"
        made = len(reads.made)
        await open_.aclose()
        await until(lambda: "feeds=0 watchers=0" in repr(site.hub), "the hub to drop its feed")
        assert len(reads.made) == made


async def test_clients_that_do_not_read_the_end_of_their_job_share_it(redis_url: str, log: Log) -> None:
    """The end repeats 8 MB of text. Each client once had two or three copies, whatever its position was."""
    player = await Player.start(log)
    await player.say(15)
    await player.finish(content=END)
    path = f"/v1/jobs/{player.job_id}/events"
    # All of them are in the replay buffer, whose batches evict one another from the frame cache.
    async with a_site(short_settings(redis_url, replay_buffer_bytes=1 << 25)) as site, AsyncExitStack() as open_:
        first = await open_.enter_async_context(await site.open(f"{path}?after=2", receive_buffer=4096))
        streams = [first]
        await until(lambda: all_paused(site), "the first to wait")
        tracemalloc.start()
        try:
            for after in range(3, 18):
                stream = await site.open(f"{path}?after={after}", receive_buffer=4096)
                streams.append(await open_.enter_async_context(stream))
            [feed] = site.hub._feeds.values()
            await until(lambda: len(feed.watchers) == len(streams) and all_paused(site), "all to wait")
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        for stream in streams:
            assert 0 < held_by(stream.writer.get_extra_info("sockname")[1], site) <= WAITING
        assert grown < len(streams) * WAITING, "no copy of the end"
        check_end(await first.rest(), 2, player)
        async with await site.open(path, version="1.0") as plain:
            check_end(Decoder().feed(await plain.reader.read()), 0, player)


def check_end(messages: list[Any], after: int, player: Player) -> None:
    assert text(messages) == said(max(after + 1, 3), player.last - 1)
    assert number(messages[-1]) == player.last
    assert orjson.loads(messages[-1].data)["content"] == END


async def test_on_another_server_a_long_end_goes_in_pieces(settings: Settings, log: Log) -> None:
    """Other servers buffer everything that they are given, whatever waits there."""
    sizes = []

    class Measuring(Client):
        async def send(self, message: Any) -> None:
            sizes.append(len(message.get("body", b"")))
            await super().send(message)

    player = await Player.start(log)
    await player.finish(content=END)
    async with a_hub(settings) as hub:
        client = Measuring()
        await client.watch(hub, player.job_id)
    assert client.complete
    check_end(client.seen, 0, player)
    assert max(sizes) <= 65_536


async def test_a_long_event_that_is_lost_while_it_is_written_is_followed_by_the_other_claim_s(
    settings: Settings, log: Log
) -> None:
    """All pieces are sent, because a partial event would be malformed. The position after it is lost all the same."""
    player = await Player.start(log)
    await player.append(NewEvent("tool_call", {"index": 0, "id": "c", "name": "f", "arguments": {"a": END}}))
    async with a_site(settings) as site:
        path = f"/v1/jobs/{player.job_id}/events?after=2"
        async with await site.open(path, receive_buffer=4096) as stream:
            await until(lambda: all_paused(site), "the write to wait in the middle")
            [feed] = site.hub._feeds.values()
            [watcher] = feed.watchers
            watcher.lose(3)
            one, two = await stream.some(2)
    assert (number(one), one.event) == (3, "tool_call")
    assert orjson.loads(one.data)["arguments"] == {"a": END}
    assert (two.event, orjson.loads(two.data)["reason"]) == ("restarted", "log_lost")
