"""One client's stream, over a real server and real sockets: exact bytes, bounded memory, and no harm to others."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest

from readalong.api.fanout.batch import Batch
from readalong.api.fanout.replay_buffer import ReplayBuffer
from readalong.api.fanout.watcher import Watcher
from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.core.sse import Decoder
from readalong.store.log import Log
from tests.api.helpers import Client, Player, check_stream, number, said, text
from tests.api.serving import Site, a_hub, a_site, on_valkey, short_settings
from tests.readalong.jobs import WORKER
from tests.support.waiting import WITHIN, until

pytestmark = on_valkey


async def test_the_whole_response_byte_for_byte(settings: Settings, log: Log) -> None:
    """The head, then each event in one chunk with what was ready, then the end."""
    player = await Player.start(log)
    async with a_site(settings) as site, await site.open(f"/v1/jobs/{player.job_id}/events?after=1") as stream:
        assert stream.head == (
            b"HTTP/1.1 200 OK\r\n"
            b"content-type: text/event-stream; charset=utf-8\r\n"
            b"cache-control: no-cache, no-transform\r\n"
            b"x-accel-buffering: no\r\n"
            b"connection: close\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        started = (
            b'id: 2-first\nevent: started\ndata: {"type":"started","attempt":1,"epoch":"first","worker":%s}\n\n'
            % WORKER
        )
        assert await stream.piece() == started
        await player.append(NewEvent("content", {"content": "Hé\u2028"}))
        text = 'id: 3-first\nevent: content\ndata: {"type":"content","content":"Hé\u2028"}\n\n'
        assert await stream.piece() == text.encode()
        await player.append(NewEvent("reasoning", {"content": "a"}), NewEvent("reasoning", {"content": "b"}))
        assert await stream.piece() == (
            b'id: 4-first\nevent: reasoning\ndata: {"type":"reasoning","content":"a"}\n\n'
            b'id: 5-first\nevent: reasoning\ndata: {"type":"reasoning","content":"b"}\n\n'
        )
        await player.finish(finish_reason="stop")
        done = b'id: 6-first\nevent: done\ndata: {"type":"done","content":"","finish_reason":"stop"}\n\n'
        assert await stream.reader.readexactly(len(done) + 6 + 5) == b"%x\r\n%s\r\n0\r\n\r\n" % (len(done), done)


async def test_the_connection_ends_with_its_stream(settings: Settings, log: Log) -> None:
    """As its head says; and nothing of it stays behind."""
    player = await Player.start(log)
    await player.finish()
    async with a_site(settings) as site, await site.open(f"/v1/jobs/{player.job_id}/events") as stream:
        check_stream(await stream.rest(), 0, 3)
        assert await stream.reader.read() == b""
        await until(lambda: "watchers=0 " in repr(site.hub), "the watcher to go")


async def test_an_http_1_0_client_gets_the_plain_stream_and_the_connection_s_end(settings: Settings, log: Log) -> None:
    """It knows no chunks, and would show their sizes in the text; whether it comes late or hears as it is said."""
    player = await Player.start(log)
    async with a_site(settings) as site:
        path = f"/v1/jobs/{player.job_id}/events"
        bodies = []
        async with await site.open(path, version="1.0") as stream:
            await player.say(2)
            await player.finish()
            bodies.append(await stream.reader.read())
        async with await site.open(path, version="1.0") as again:
            bodies.append(await again.reader.read())
    for head, body in zip((stream, again), bodies, strict=True):
        assert head.status == 200
        assert head.headers["connection"] == "close"
        assert "transfer-encoding" not in head.headers
        check_stream(Decoder().feed(body), 0, player.last)


@pytest.mark.parametrize(("after", "status"), [("0", 200), ("4", 204), ("x", 400), ("latest", 204)])
async def test_head_of_a_stream_is_its_head_and_leaves_nothing(
    settings: Settings, log: Log, after: str, status: int
) -> None:
    """The very head of GET but for the connection, which goes on."""
    player = await Player.start(log)
    await player.say(1)
    await player.finish()
    async with a_site(settings) as site:
        path = f"/v1/jobs/{player.job_id}/events?after={after}"
        async with await site.open(path, method="HEAD") as stream, await site.open(path) as full:
            assert stream.status == full.status == status
            of_connection = {"transfer-encoding", "connection"}
            assert stream.headers == {name: full.headers[name] for name in full.headers.keys() - of_connection}
            stream.writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await stream.read_head()
            assert stream.status == 200, "no body came between"
        await until(lambda: "feeds=0 watchers=0" in repr(site.hub))


async def test_a_client_that_hears_nothing_gets_comments(redis_url: str, log: Log) -> None:
    """Proxies and clients give up on a silent line; a comment is no event and moves no position."""
    player = await Player.start(log)
    async with (
        a_site(short_settings(redis_url, sse_keepalive=0.06)) as site,
        await site.open(f"/v1/jobs/{player.job_id}/events?after=2") as stream,
    ):
        for _ in range(3):
            assert await stream.piece() == b": still here\n\n"
        await player.say(1)
        await player.finish()
        check_stream(await stream.rest(), 2, 4)


async def test_a_client_that_hears_events_gets_no_comments(redis_url: str, log: Log) -> None:
    player = await Player.start(log)
    async with (
        a_site(short_settings(redis_url, sse_keepalive=10)) as site,
        await site.open(f"/v1/jobs/{player.job_id}/events") as stream,
    ):
        for _ in range(20):
            await player.say(1)
        await player.finish()
        check_stream(await stream.rest(), 0, player.last)
        assert b"still here" not in stream.body


def held_by(stream_port: int, site: Site) -> int:
    """Returns the bytes in the server's own write buffers of the connections from this port."""
    total = 0
    for connection in list(site.server.server_state.connections):
        transport = connection.transport
        if transport.get_extra_info("peername")[1] == stream_port:
            total += transport.get_write_buffer_size()
    return total


async def test_a_client_that_stops_reading_costs_bounded_memory_and_later_gets_every_event(
    redis_url: str, log: Log
) -> None:
    """It holds up neither the writer nor another watcher, and what the feed dropped meanwhile comes from the log."""
    player = await Player.start(log)
    async with a_site(short_settings(redis_url, replay_buffer_bytes=65_536, send_timeout=30)) as site:
        path = f"/v1/jobs/{player.job_id}/events"
        async with await site.open(path, receive_buffer=4096) as slow, await site.open(path) as quick:
            port = slow.writer.get_extra_info("sockname")[1]
            quick_reads = asyncio.create_task(quick.rest())
            most = 0
            for _ in range(150):  # 9 MB: what the kernel buffers of both ends hold is used up on the way
                await player.say(6, pad="x" * 10_000)
                most = max(most, held_by(port, site))
            await player.finish()
            check_padded(await quick_reads, player.last)
            assert 0 < most < 4 * 65_536, "a write or two, and the transport's own 64 KiB"
            (feed,) = site.hub._feeds.values()
            assert kept_by(feed) < 3 * 65_536
            check_padded(await slow.rest(), player.last)


def kept_by(feed: object) -> int:
    """Returns the bytes of events in a feed's window, by its own count, which test_replay_buffer.py checks."""
    (window,) = (value for value in vars(feed).values() if isinstance(value, ReplayBuffer))
    return window.cost


def check_padded(messages: list[Any], last: int) -> None:
    assert text(messages).replace("x", "") == said(3, last - 1)
    assert [number(message) for message in messages] == sorted({number(message) for message in messages})
    assert messages[-1].event == "done"


def all_paused(site: Site) -> bool:
    """Returns whether each watcher of the one feed waits for room."""
    [feed] = site.hub._feeds.values()
    lines = [watcher._line for watcher in feed.watchers if isinstance(watcher, Watcher)]
    return bool(lines) and all(line is not None and line.flow.write_paused for line in lines)


@pytest.mark.slow
async def test_clients_that_stop_reading_keep_nothing_ready_to_be_written(settings: Settings, log: Log) -> None:
    """Each has a position of its own: what is ready for one client is for that client alone, 64 KB and once more as a
    chunk."""
    player = await Player.start(log)
    async with a_site(settings) as site:
        streams = []
        for _ in range(20):
            path = f"/v1/jobs/{player.job_id}/events?after={player.last}"
            streams.append(await site.open(path, receive_buffer=4096))
            await player.say(3, pad="x" * 20_000)
        (feed,) = site.hub._feeds.values()
        while not all_paused(site):
            await player.say(3, pad="x" * 20_000)
        await player.say(3, pad="x" * 20_000)
        await until(lambda: feed.newest == player.last, "the newest event")
        assert len(feed.watchers) == 20
        gc.collect()
        assert sum(isinstance(found, Batch) for found in gc.get_objects()) < 5
        for stream in streams:
            stream.vanish()


async def test_a_client_that_reads_nothing_for_the_send_time_out_is_dropped_and_can_resume(
    redis_url: str, log: Log
) -> None:
    """Without it a vanished phone would hold its socket for hours."""
    player = await Player.start(log)
    async with a_site(short_settings(redis_url, send_timeout=1)) as site:
        path = f"/v1/jobs/{player.job_id}/events"
        async with await site.open(path, receive_buffer=4096) as slow:
            await until(lambda: "watchers=1 " in repr(site.hub), "it watches")
            async with asyncio.timeout(WITHIN):
                while "watchers=1 " in repr(site.hub):
                    await player.say(10, pad="x" * 20_000)
            seen = []
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):  # noqa: PT012  # whichever read it is
                while (more := await slow.messages()) is not None:
                    seen += more
    await player.finish()
    position = number(seen[-1]) if seen else 0
    assert position < player.last
    async with a_site(short_settings(redis_url)) as site:
        check_padded([*seen, *await site.watch(player.job_id, position)], player.last)


class Broken(Client):
    """A client whose server raises in `send`."""

    async def send(self, message: Any) -> None:
        if self.position >= 3:
            raise RuntimeError("broken send")
        await super().send(message)


class BrokenLater(Client):
    """The same, after it had to wait."""

    async def send(self, message: Any) -> None:
        if self.position >= 3:
            await asyncio.sleep(0)
            raise RuntimeError("broken send")
        await super().send(message)


@pytest.mark.parametrize("kind", [Broken, BrokenLater])
async def test_a_send_that_raises_hurts_only_its_own_watcher(
    settings: Settings, log: Log, kind: type[Client], caplog: pytest.LogCaptureFixture
) -> None:
    player = await Player.start(log)
    async with a_hub(settings) as hub:
        clients = [Client(), kind(), Client(), kind(), Client()]
        tasks = [asyncio.create_task(client.watch(hub, player.job_id)) for client in clients]
        await until(lambda: all(client.position == 2 for client in clients), "the beginning")
        with caplog.at_level(logging.ERROR):
            for _ in range(3):
                await player.say(1)
                await until(lambda: clients[0].position == player.last, "the next event")
        await player.finish()
        await asyncio.gather(*tasks)
        for client in clients:
            if type(client) is Client:
                check_stream(client.seen, 0, player.last)
            else:
                assert client.position == 3
        assert "broken send" in caplog.text
        assert "watchers=0 " in repr(hub)


class Taking:
    """A cut that takes away each frame that it has to see: all at first, then those with a 5, and none after that."""

    def __init__(self) -> None:
        self.done = False
        self.marker = b""

    def cut(self, frames: bytes) -> tuple[bytes, bool]:
        self.done = self.marker != b""
        self.marker = b'"5 "'
        return b"", False


async def test_a_cut_sees_what_it_asks_for_until_it_is_done(settings: Settings, log: Log) -> None:
    player = await Player.start(log)
    async with a_hub(settings) as hub:
        client = Client()
        watching = asyncio.create_task(client.watch(hub, player.job_id, cut=Taking()))
        await until(lambda: "watchers=1 " in repr(hub))
        for _ in range(4):
            await player.say(1)
            await client.reaches(player.last if player.last != 5 else 4)
        await player.append(NewEvent("content", {"content": "5 "}))
        await player.finish()
        await watching
        assert [number(message) for message in client.seen] == [3, 4, 6, 7, 8]
        assert client.ended


async def test_close_ends_streams_without_a_terminal_event(settings: Settings, log: Log) -> None:
    """The body is whole as HTTP goes; only the terminal event is missing, which tells the client to come back."""
    player = await Player.start(log)
    await player.say(3)
    async with a_site(settings) as site:
        streams = [await site.open(f"/v1/jobs/{player.job_id}/events") for _ in range(5)]
        for stream in streams:
            await stream.some(5)
        await site.hub.close()
        for stream in streams:
            assert await stream.rest() == []
            stream.vanish()


async def test_close_ends_a_stream_that_waits_for_the_log(
    redis_url: str, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another server, where it is no connection that could be dropped."""
    player = await Player.start(log)
    await player.say(200, pad="x" * 200)
    asked = asyncio.Event()

    async def unanswered(self: Log, job_id: str, after: int, count: int) -> list[Any]:
        asked.set()
        never: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        return await never

    async with a_hub(short_settings(redis_url, replay_buffer_bytes=4096)) as hub:
        await hub.feed(player.job_id, player.last)
        monkeypatch.setattr(Log, "read_merged", unanswered)
        client = Client()
        watching = asyncio.create_task(client.watch(hub, player.job_id))
        await asked.wait()
        await hub.close()
        async with asyncio.timeout(WITHIN):
            await watching
        assert client.complete
        assert not client.ended


async def test_a_watcher_far_behind_the_window_reads_the_log(redis_url: str, log: Log) -> None:
    """The feed keeps the newest 4 KiB; the rest comes in pages, and the live end after it."""
    player = await Player.start(log)
    async with a_site(short_settings(redis_url, replay_buffer_bytes=4096)) as site:
        path = f"/v1/jobs/{player.job_id}/events"
        async with await site.open(path + "?after=2") as first:
            await player.say(2500)
            await until(lambda: f"..{player.last} " in repr(list(site.hub._feeds.values())), "the feed has all")
            late = [await site.open(f"{path}?after={after}") for after in (0, 1, 999, 1000, 1001, 2400)]
            await player.say(3)
            await player.finish()
            check_stream(await first.rest(), 2, player.last)
            for after, stream in zip((0, 1, 999, 1000, 1001, 2400), late, strict=True):
                check_stream(await stream.rest(), after, player.last)
                stream.vanish()


async def test_a_watcher_that_drops_and_resumes_ten_times_misses_nothing(settings: Settings, log: Log) -> None:
    """With the id of the last event that it saw, as EventSource does."""
    player = await Player.start(log)
    seen: list[Any] = []
    async with a_site(settings) as site:
        for _ in range(10):
            await player.say(5)
            position = seen[-1].id if seen else "0"
            path = f"/v1/jobs/{player.job_id}/events"
            async with await site.open(path, headers=[f"Last-Event-ID: {position}"]) as stream:
                seen += await stream.some(3)
        await player.finish()
        check_stream([*seen, *await site.watch(player.job_id, number(seen[-1]))], 0, player.last)


async def test_a_request_behind_a_stream_is_neither_answered_nor_a_disconnect(settings: Settings, log: Log) -> None:
    """The head has said that the connection closes (RFC 9112, section 9.6)."""
    player = await Player.start(log)
    async with a_site(settings) as site, await site.open(f"/v1/jobs/{player.job_id}/events") as stream:
        begun = await stream.some(2)
        stream.writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await player.say(2)
        await player.finish()
        check_stream([*begun, *await stream.rest()], 0, player.last)
        assert await stream.reader.read() == b""
