"""The API as real processes: ports, signals, the end of open streams."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from typing import Any

import httpx2
import pytest

from readalong.api.server import listen, run
from readalong.core.errors import BadSettings
from readalong.core.settings import Settings
from readalong.core.states import TERMINAL
from readalong.store.log import Log
from tests.api.helpers import Player, again, check_stream, without_debug
from tests.api.process import ApiProcess, alive
from tests.api.serving import Stream, a_log, a_site, on_valkey, short_settings
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer, free_port
from tests.support.waiting import until

BAD_ADDRESSES = (
    ("203.0.113.1", 8000),
    ("no.such.host.invalid", 8000),
    ("127.0.0.1", 70_000),
    ("a" * 300, 8000),
    ("a..b", 8000),
)


@pytest.mark.parametrize(("host", "port"), BAD_ADDRESSES, ids=[f"{host[:12]}:{port}" for host, port in BAD_ADDRESSES])
def test_an_address_that_cannot_be_used_is_a_bad_setting_that_names_it(host: str, port: int) -> None:
    with pytest.raises(BadSettings, match=r"cannot listen on ") as caught:
        run(Settings(), host=host, port=port)
    assert f"{host}:{port}" in caught.value.message


def test_the_kernel_gives_up_a_machine_that_takes_nothing_for_the_send_time_out() -> None:
    """The kernel buffers all of a quiet stream, so the process cannot see the loss: a client that was switched off
    would count as a watcher for a quarter of an hour. Kernels other than Linux have their own limits."""
    with (
        listen("127.0.0.1", 0, send_timeout=7.5) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        wanted = 7500 if sys.platform == "linux" else 0
        option = getattr(socket, "TCP_USER_TIMEOUT", socket.TCP_NODELAY)
        assert connection.getsockopt(socket.IPPROTO_TCP, option) == wanted


def test_a_taken_port_is_one_clear_line_and_an_exit_code() -> None:
    """Otherwise there would be a stack trace, or a server that no client reaches."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadSettings, match=f"cannot listen on 127.0.0.1:{port}: "):
            run(Settings(), host="127.0.0.1", port=port)
        done = subprocess.run(
            [sys.executable, "-m", "readalong.cli", "api", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode not in (0, -signal.SIGTERM)
        assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
        assert "Traceback" not in done.stderr


async def finish_reading(stream: Stream, seen: list[Any]) -> None:
    seen += await stream.rest()
    stream.vanish()


@on_valkey
async def test_sigterm_with_two_hundred_open_streams_ends_them_whole_and_loses_nothing(
    redis_url: str, log: Log
) -> None:
    """The streams end properly and without a terminal event. Another process continues from each position."""
    without_debug()
    players = [await Player.start(log) for _ in range(4)]
    async with ApiProcess(redis_url) as first, ApiProcess(redis_url) as second, asyncio.timeout(200):
        await first.wait_for_serving()
        await second.wait_for_serving()

        async def watch(number: int) -> tuple[Player, Stream]:
            player = players[number % 4]
            return player, await Stream.open(first.port, f"/v1/jobs/{player.job_id}/events")

        streams = await asyncio.gather(*map(watch, range(200)))
        seen: list[list[Any]] = [[] for _ in streams]
        reading = [
            asyncio.create_task(finish_reading(stream, messages))
            for (_, stream), messages in zip(streams, seen, strict=True)
        ]
        for player in players:
            await player.say(3)
        await asyncio.sleep(0)
        first.signal()
        for player in players:
            await player.say(3)
        await asyncio.gather(*reading)
        assert await first.wait_for_end() == 0
        assert "Traceback" not in first.log
        for player in players:
            await player.finish()

        async def resume(player: Player, messages: list[Any]) -> None:
            position = messages[-1].id if messages else "0"
            path = f"/v1/jobs/{player.job_id}/events"
            async with await Stream.open(second.port, path, headers=[f"Last-Event-ID: {position}"]) as stream:
                rest = await stream.rest()
            assert rest, "no stream had ended before"
            check_stream([*messages, *rest], 0, player.last)

        await asyncio.gather(*(resume(player, messages) for (player, _), messages in zip(streams, seen, strict=True)))


@on_valkey
async def test_a_stopping_process_takes_no_further_request_on_a_connection_that_it_has(
    settings: Settings, log: Log
) -> None:
    """A client that reconnects at once must find its kept connection closed: a 204 would say that the job is over,
    and after a 503 a browser's EventSource gives up."""
    player = await Player.start(log)
    path = f"/v1/jobs/{player.job_id}/events"
    async with a_site(settings) as site:
        streams = [await site.open(path) for _ in range(5)]
        for stream in streams:
            await stream.some(2)
        idle = await site.open("/healthz")
        await idle.reader.readexactly(len(b'{"status":"ok"}'))
        stopping = asyncio.create_task(site.server.shutdown())
        for stream in [*streams, idle]:
            if stream is not idle:
                assert await stream.rest() == []
            stream.writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 2\r\n\r\n".encode())
            async with asyncio.timeout(200):
                try:
                    assert await stream.reader.read() == b""
                except ConnectionResetError:
                    continue
        for stream in [*streams, idle]:
            stream.vanish()
        await stopping


@on_valkey
async def test_open_streams_end_before_the_server_waits_for_their_connections(settings: Settings, log: Log) -> None:
    """uvicorn tells the application to stop after the connections have closed: it would wait for as long as it may."""
    player = await Player.start(log)
    async with a_site(settings) as site:
        site.server.config.timeout_graceful_shutdown = None
        async with await site.open(f"/v1/jobs/{player.job_id}/events") as stream:
            await stream.some(2)
            async with asyncio.timeout(200):
                await asyncio.gather(site.server.shutdown(), stream.rest())


@on_valkey
async def test_a_signal_at_the_very_start_is_obeyed(redis_url: str) -> None:
    """Between the first line of the log and the server's own handlers, as in a deploy that is cancelled."""
    for processes in (1, 2):
        async with ApiProcess(redis_url, processes=processes) as api:
            await api.wait_for_first_line()
            api.signal()
            await api.wait_for_end()
            await api.wait_for_no_process()


@on_valkey
async def test_two_processes_share_the_port_and_a_killed_one_is_replaced(redis_url: str, log: Log) -> None:
    """Each serves while the other is stopped. Clients of the killed process resume. SIGTERM ends all processes."""
    player = await Player.start(log)
    path = f"/v1/jobs/{player.job_id}/events"
    async with ApiProcess(redis_url, processes=2) as api, asyncio.timeout(200):
        first, second = await api.wait_for_serving(2)
        for stopped in (first, second):
            os.kill(stopped, signal.SIGSTOP)
            async with await Stream.open(api.port, path) as stream:
                assert len(await stream.some(2)) == 2
            os.kill(stopped, signal.SIGCONT)
        os.kill(second, signal.SIGSTOP)
        async with await Stream.open(api.port, path) as stream:
            begun = await stream.some(2)
            os.kill(first, signal.SIGKILL)
            os.kill(second, signal.SIGCONT)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await stream.rest()
        *_, third = await api.wait_for_serving(3)
        assert third not in (first, second)
        os.kill(second, signal.SIGSTOP)
        await player.say(2)
        async with await Stream.open(api.port, path, headers=["Last-Event-ID: 2"]) as stream:
            os.kill(second, signal.SIGCONT)
            await player.finish()
            check_stream([*begun, *await stream.rest()], 0, player.last)
        api.signal()
        assert await api.wait_for_end() == 0
        assert not alive(second)
        assert not alive(third)


@on_valkey
@pytest.mark.parametrize("processes", [1, 2])
async def test_sigusr1_logs_what_each_process_has_open_and_ends_nothing(
    redis_url: str, log: Log, processes: int
) -> None:
    """An operator finds leaks this way. The parent of several processes forwards the signal, also before they are
    ready."""
    player = await Player.start(log)
    async with ApiProcess(redis_url, processes=processes) as api, asyncio.timeout(200):
        await api.wait_for_first_line()
        api.signal(signal.SIGUSR1)
        pids = await api.wait_for_serving(processes)
        async with await Stream.open(api.port, f"/v1/jobs/{player.job_id}/events") as stream:
            await stream.some(2)

            def reports() -> dict[int, str]:
                lines = re.findall(r"process (\d+): \d+ connections, <Hub (.+)>", api.log)
                return {int(pid): hub for pid, hub in lines}

            def reported() -> bool:
                api.signal(signal.SIGUSR1)
                return set(reports()) == set(pids) and any("feeds=1 watchers=1" in hub for hub in reports().values())

            await until(reported, "a report of each process")
        assert sum("feeds=0 watchers=0" in hub for hub in reports().values()) == processes - 1
        assert all(map(alive, pids))
        api.signal()
        assert await api.wait_for_end() == 0


@on_valkey
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_sighup_ends_an_api_as_sigterm_does(redis_url: str, log: Log, processes: int) -> None:
    """When a terminal closes, the stream ends without a terminal event, and no process stays. The shell may send a
    second SIGHUP."""
    player = await Player.start(log)
    async with ApiProcess(redis_url, processes=processes) as api, asyncio.timeout(50):
        await api.wait_for_serving(processes)
        async with await Stream.open(api.port, f"/v1/jobs/{player.job_id}/events") as stream:
            begun = await stream.some(2)
            api.signal(signal.SIGHUP)
            api.signal(signal.SIGHUP)
            assert [message.event for message in [*begun, *await stream.rest()] if message.event in TERMINAL] == []
        assert await api.wait_for_end() == 0
        await api.wait_for_no_process()


@on_valkey
async def test_the_processes_end_when_their_parent_is_killed_outright(redis_url: str, log: Log) -> None:
    """Otherwise they would hold the port without a supervisor. Streams end without a terminal event."""
    player = await Player.start(log)
    async with ApiProcess(redis_url, processes=2) as api, asyncio.timeout(200):
        await api.wait_for_serving(2)
        async with await Stream.open(api.port, f"/v1/jobs/{player.job_id}/events") as stream:
            seen = await stream.some(2)
            api.signal(signal.SIGKILL)
            assert await stream.rest() == []
        await api.wait_for_no_process()
        async with ApiProcess(redis_url, port=api.port) as heir:
            await heir.wait_for_serving()
            await player.finish()
            path = f"/v1/jobs/{player.job_id}/events"
            async with await Stream.open(heir.port, path, headers=["Last-Event-ID: 2"]) as stream:
                check_stream([*seen, *await stream.rest()], 0, player.last)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/abcdefghijklmnopqrstuv", "/readyz"])
@on_valkey
async def test_a_request_that_a_stopping_process_gives_up_is_told_so(redis_server: RedisServer, path: str) -> None:
    """Redis is silent for longer than the process may wait. With a 503 a client may try another replica; a 500 would
    not tell."""
    async with Proxy(redis_server.port) as proxy, ApiProcess(proxy.url, redis_timeout=30) as api, asyncio.timeout(200):
        await api.wait_for_serving()
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", timeout=100, verify=False) as http:
            assert (await http.get("/v1/jobs")).status_code == 200
            proxy.stall()
            held = proxy.held
            asked = asyncio.create_task(http.get(path))
            await until(lambda: proxy.held > held, "the request to reach Redis")
            api.signal()
            answer = await asked
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "stopping", "1")
        assert await api.wait_for_end() == 0


async def test_redis_away_at_the_start_is_not_ready_and_then_recovers() -> None:
    """An API that starts before its Redis must not need a restart."""
    port = free_port()
    async with ApiProcess(f"redis://127.0.0.1:{port}/0") as api:
        await api.wait_for_serving()
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", timeout=100, verify=False) as http:
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()["redis"]) == (503, "away")
            assert (await http.get("/healthz")).status_code == 200
            with RedisServer.start(port=port) as server:
                async with a_log(short_settings(server.url)) as log:
                    player = await Player.start(log)
                    ready = await http.get("/readyz")
                    assert ready.json()["redis"] == "ok"

                    async def watch() -> None:
                        async with await Stream.open(api.port, f"/v1/jobs/{player.job_id}/events") as stream:
                            assert stream.status in (200, 503)
                            if stream.status == 200:
                                watched.append(await stream.some(2))

                    watched: list[Any] = []
                    async with asyncio.timeout(200):
                        while not watched:
                            await again(watch)
        api.signal()
        assert await api.wait_for_end() == 0
