"""The foundation of the other tests: the event loop of a test, and the servers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import fakeredis
import hypothesis
import hypothesis.strategies as st
import pytest
import redis

from tests.support.connections import open_connection
from tests.support.loop import as_sync
from tests.support.servers import RedisServer, ServerError


def test_a_task_left_pending_fails_the_test_that_left_it() -> None:
    """A leak fails the test that leaks."""

    async def leaks() -> None:
        asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="forgotten")

    with pytest.raises(pytest.fail.Exception, match="forgotten"):
        as_sync(leaks)()


def test_a_connection_that_a_test_left_open_is_closed_with_the_test() -> None:
    """Otherwise the garbage collector finds it in a later test, which gets the warning."""
    left: list[asyncio.StreamWriter] = []

    async def leaves() -> None:
        _, writer = await open_connection(listener.getsockname()[1])
        left.append(writer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        as_sync(leaves)()
    assert left[0].get_extra_info("socket").fileno() == -1


_ran: list[int] = []


@hypothesis.given(st.integers())
async def test_an_async_test_under_given_runs_in_a_loop(number: int) -> None:
    """Hypothesis refuses coroutines; without the hook such a test could not run."""
    await asyncio.sleep(0)
    _ran.append(number)


def test_the_async_test_under_given_did_run() -> None:
    """A coroutine that is never awaited passes silently: this one was awaited."""
    assert _ran


async def test_a_fake_redis_starts_empty_and_runs_lua(fake_redis: fakeredis.FakeAsyncRedis) -> None:
    """Each test has its own server."""
    assert await fake_redis.dbsize() == 0
    client: Any = fake_redis  # its eval is typed for both the plain and the async client
    assert await client.eval("return redis.call('GET', KEYS[1]) or ARGV[1]", 1, "key", "value") == b"value"


@pytest.mark.parametrize("turn", ["first", "second"])
def test_a_server_is_empty_for_each_test(redis_url: str, turn: str) -> None:
    """The data of one test is gone for the next."""
    client: Any = redis.Redis.from_url(redis_url)
    with client:
        assert client.dbsize() == 0
        client.set("left-behind", turn)


def test_a_killed_server_comes_back_on_its_port_with_what_its_file_held() -> None:
    """Chaos tests rely on it: same URL, nothing lost with the append-only file."""
    with RedisServer.start(aof=True) as server:
        url, pid = server.url, server.pid
        server.command("SET", "key", "value")
        server.kill()
        assert not server.running
        server.restart()
        assert (server.url, server.command("GET", "key")) == (url, "value")
        assert server.pid != pid
    assert not server.dir.exists()


def test_a_taken_port_is_an_error_that_shows_the_servers_log() -> None:
    """A client never talks to another server by mistake."""
    with RedisServer.start() as server, pytest.raises(ServerError, match="in use"):
        RedisServer.start(port=server.port)


def test_a_server_ends_with_the_run_that_started_it_even_if_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves no time to clean up; the watchdog does it."""
    code = (
        "import sys, pathlib; from tests.support.servers import RedisServer;"
        "print(RedisServer.start(dir=pathlib.Path(sys.argv[1])).port, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        port = int(run.stdout.readline())
        client: Any = redis.Redis(port=port, socket_timeout=60)
        with client, client.pubsub() as watching:
            watching.subscribe("anything")
            watching.get_message(timeout=100)
            os.kill(run.pid, signal.SIGKILL)
            with pytest.raises(redis.ConnectionError):
                watching.get_message(timeout=100)
