"""The connection to Redis: bounded waits, and Redis errors translated to ours."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import AsyncExitStack

import pytest
from arq.connections import ArqRedis
from pydantic import AnyUrl
from redis import exceptions

from readalong.core.errors import BadSettings, StoreUnavailable
from readalong.core.settings import Settings
from readalong.redis.client import connect, translated
from readalong.redis.facade import RedisFacade
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.queue import Queue
from tests.readalong.helpers import command, settings_for
from tests.readalong.jobs import content, end, queued, running
from tests.support.clients import client_of
from tests.support.servers import RedisServer, free_port
from tests.support.waiting import until

PASSING = [
    exceptions.ConnectionError("Connection closed by server."),
    exceptions.TimeoutError("Timeout reading from host"),
    exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
    exceptions.ClusterDownError("The cluster is down"),
    exceptions.MasterDownError("Link with MASTER is down"),
    exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    exceptions.ReadOnlyError("You can't write against a read only replica."),
    exceptions.TryAgainError("Multiple keys request during rehashing of slot"),
    exceptions.AuthenticationError("invalid username-password pair"),
    exceptions.MaxConnectionsError("Too many connections"),
    exceptions.InvalidResponse("Protocol Error"),
    ConnectionResetError("reset"),
    OSError(24, "Too many open files"),
    TimeoutError(),
    # The client of a single server has no class for these errors; they arrive as text.
    exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots, but it's unable to persist"),
    exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."),
    exceptions.ResponseError("CLUSTERDOWN The cluster is down"),
    exceptions.ResponseError("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
    exceptions.ResponseError("TRYAGAIN Multiple keys request during rehashing of slot"),
    exceptions.ResponseError("BUSY Redis is busy running a script."),
    exceptions.ResponseError("UNKILLABLE Sorry the script already executed write commands"),
    exceptions.ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed"),
    exceptions.ResponseError("Script killed by user with SCRIPT KILL. script: on @user_script:1."),
]
OURS = [
    exceptions.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
    exceptions.ResponseError("user_script:3: attempt to compare number with nil"),
    exceptions.NoScriptError("No matching script."),
    exceptions.NoPermissionError("this user has no permissions to run the 'eval' command"),
    KeyError("ours"),
    ValueError("ours"),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_an_error_that_passes_is_told_as_such_and_keeps_its_cause(error: Exception) -> None:
    with pytest.raises(StoreUnavailable) as caught, translated():
        raise error
    assert caught.value.retryable
    assert caught.value.retry_after == 1
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", OURS, ids=repr)
def test_a_mistake_of_ours_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, translated():
        raise error
    assert caught.value is error


def test_what_is_ours_already_and_a_cancellation_pass_through() -> None:
    for error in (StoreUnavailable("ours"), asyncio.CancelledError()):
        with pytest.raises(type(error)) as caught, translated():
            raise error
        assert caught.value is error


async def test_a_port_without_a_listener_is_unavailable_after_few_tries(resources: AsyncExitStack) -> None:
    client = client_of(settings_for(f"redis://:hunter2@127.0.0.1:{free_port()}/0"), resources)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        await JobIndex(RedisFacade(client, settings_for("redis://127.0.0.1")), settings_for("redis://127.0.0.1")).now()
    assert time.monotonic() - began < 50
    told = "".join(str(error) for error in chain(caught.value))
    assert "hunter2" not in told


def chain(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


async def test_a_server_that_accepts_and_never_answers_is_unavailable_after_the_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        settings = settings_for(f"redis://127.0.0.1:{port}/0", redis_timeout=0.1)
        client = connect(settings)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await JobIndex(RedisFacade(client, settings), settings).now()
        took = time.monotonic() - began
        await client.aclose()
    # Three tries, each of which may wait for the connection's greeting, and the pauses between them.
    assert 0.1 <= took < 30


@pytest.mark.parametrize("url", ["redis://:hunter2@127.0.0.1:{port}/0", "redis://127.0.0.1:{port}/0?password=hunter2"])
async def test_a_refused_password_is_unavailable_and_is_not_shown(
    url: str, resources: AsyncExitStack, redis_server: RedisServer
) -> None:
    server = resources.enter_context(RedisServer.start(binary=redis_server.binary))
    server.command("CONFIG", "SET", "requirepass", "right")
    settings = settings_for(url.format(port=server.port))
    client = client_of(settings, resources)
    with pytest.raises(StoreUnavailable) as caught:
        await JobIndex(RedisFacade(client, settings), settings).now()
    assert not any("hunter2" in str(error) for error in chain(caught.value))
    assert "hunter2" not in settings.safe_redis_url


async def test_the_right_password_opens(resources: AsyncExitStack, redis_server: RedisServer) -> None:
    server = resources.enter_context(RedisServer.start(binary=redis_server.binary))
    server.command("CONFIG", "SET", "requirepass", "p@ss/word")
    settings = settings_for(f"redis://:p%40ss%2Fword@127.0.0.1:{server.port}/0")
    client = client_of(settings, resources)
    assert await JobIndex(RedisFacade(client, settings), settings).now() > 0
    assert settings.safe_redis_url == f"redis://:***@127.0.0.1:{server.port}/0"


async def test_a_script_on_a_redis_that_is_full_is_unavailable_and_writes_nothing(
    resources: AsyncExitStack, redis_server: RedisServer
) -> None:
    server = resources.enter_context(RedisServer.start(binary=redis_server.binary))
    settings = settings_for(server.url)
    client = client_of(settings, resources)
    log = Log(RedisFacade(client, settings), settings)
    waits, runs = await queued(log), await running(log)
    before = [await log.read(job_id, 0, 10) for job_id in (waits, runs)]
    server.command("CONFIG", "SET", "maxmemory", "1")
    for call in (
        log.claim(waits, b"{}", "t"),
        log.append(runs, 1, 3, content("a")),
        log.cancel(waits, "ann"),
        log.finish(runs, 1, 3, end(), {}),
        Queue(RedisFacade(client, settings), settings).enqueue(waits, 0),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    assert [await log.read(job_id, 0, 10) for job_id in (waits, runs)] == before
    server.command("CONFIG", "SET", "maxmemory", "0")
    assert (await log.append(runs, 1, 3, content("a"))).last_seq == 3


async def test_a_restart_of_redis_is_ridden_out_by_the_next_call(
    resources: AsyncExitStack, redis_server: RedisServer
) -> None:
    server = resources.enter_context(RedisServer.start(aof=True, binary=redis_server.binary))
    settings = settings_for(server.url)
    client = client_of(settings, resources)
    log = Log(RedisFacade(client, settings), settings)
    job_id = await running(log)
    server.restart()
    assert (await log.append(job_id, 1, 3, content("a"))).last_seq == 3
    server.kill()
    with pytest.raises(StoreUnavailable):
        await log.append(job_id, 1, 4, content("b"))
    server.restart()
    assert (await log.append(job_id, 1, 4, content("b"))).last_seq == 4


async def test_a_closed_client_leaves_no_connection_behind(redis_server: RedisServer, settings: Settings) -> None:
    def connections() -> int:
        return int(redis_server.command("INFO", "clients")["connected_clients"])

    before = connections()
    client = connect(settings)
    await asyncio.gather(*(command(client, "BLPOP", "nothing", 0.05) for _ in range(5)))
    assert connections() >= before + 5
    await client.aclose()

    async def closed() -> bool:
        return connections() <= before

    await until(closed)


async def test_a_client_has_no_more_connections_than_allowed_and_waits_for_a_free_one(
    redis_server: RedisServer, settings: Settings, resources: AsyncExitStack
) -> None:
    client = client_of(settings, resources, max_connections=2)
    before = int(redis_server.command("INFO", "clients")["connected_clients"])
    assert await asyncio.gather(*(client.ping() for _ in range(20))) == [True] * 20
    assert int(redis_server.command("INFO", "clients")["connected_clients"]) <= before + 2


async def test_arq_speaks_json_and_never_pickle(redis: ArqRedis, settings: Settings) -> None:
    job = await redis.enqueue_job("f", 1, _job_id="by-arq", odd={"set": {1}, "error": ValueError("x")})
    assert job is not None
    raw = await redis.get("arq:job:by-arq")
    assert raw.startswith(b"{")
    assert await redis.zscore(settings.keys.queue, "by-arq") is not None
    info = await job.info()
    assert info is not None
    assert (info.function, info.kwargs["odd"]["error"]) == ("f", "ValueError('x')")


async def test_a_connection_to_what_is_no_primary_any_more_is_made_anew() -> None:
    """After a failover behind one address, an open connection would be refused for ever, pipelines too."""
    with RedisServer.start() as server:
        async with AsyncExitStack() as resources:
            redis = client_of(settings_for(server.url), resources)
            before = await command(redis, "CLIENT", "ID")
            server.command("REPLICAOF", "127.0.0.1", free_port())
            async with redis.pipeline(transaction=False) as pipe:
                pipe.set("key", "value")
                with pytest.raises(exceptions.RedisError):
                    await pipe.execute()
            assert await command(redis, "CLIENT", "ID") != before


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1/0?timeut=3", "redis://127.0.0.1/0?db=x", "unix:///tmp/r?keepalive=1"]
)
def test_a_query_that_means_nothing_to_the_client_is_a_bad_setting(url: str) -> None:
    """At the start, and not at the first connection."""
    with pytest.raises(BadSettings, match="READALONG_REDIS_URL: "):
        connect(Settings(redis_url=AnyUrl(url)))
