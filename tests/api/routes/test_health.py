"""Health, readiness, responses without a route, and the response of every call while Redis is away."""

from __future__ import annotations

import httpx2
import orjson
import pytest
from arq.connections import ArqRedis

from readalong.core.keys import new_job_id
from readalong.core.settings import Settings
from readalong.store.job_index import JobIndex
from readalong.store.log import Log
from readalong.store.queue import Queue
from readalong.store.worker_registry import WorkerRegistry
from tests.api.helpers import Player, check_stream
from tests.api.routes.test_submit import BODY, problem
from tests.api.serving import Site, a_site, on_valkey, short_settings
from tests.readalong.helpers import enqueue
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer, free_port
from tests.support.waiting import until


@on_valkey
async def test_healthz_says_that_the_process_lives(settings: Settings) -> None:
    async with a_site(settings) as site:
        answer = await site.http.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@on_valkey
async def test_readyz_wants_redis_and_a_worker(settings: Settings, index: JobIndex, registry: WorkerRegistry) -> None:
    async with a_site(settings) as site:
        answer = await site.http.get("/readyz")
        assert (answer.status_code, answer.json()) == (
            503,
            {
                "ready": False,
                "reason": "No worker is alive.",
                "redis": "ok",
                "hub": "ok",
                "queued": 0,
                "oldest_wait_seconds": None,
                "workers": 0,
                "workers_refused": 0,
                "maxmemory_policy": None,
            },
        )
        now = await index.now()
        await registry.heartbeat("w1", b"{}", now, 60_000)
        await registry.heartbeat("w2", b"{}", now, 60_000)
        answer = await site.http.get("/readyz")
        assert (answer.status_code, answer.json()["ready"], answer.json()["workers"]) == (200, True, 2)
        await registry.leave("w1")
        await registry.heartbeat("w2", b"{}", now - 120_000, 60_000)  # long ago
        answer = await site.http.get("/readyz")
        assert (answer.status_code, answer.json()["workers"]) == (503, 0)


@on_valkey
async def test_readyz_says_what_waits_for_how_long_and_which_workers_are_refused(
    settings: Settings, index: JobIndex, registry: WorkerRegistry, queue: Queue, redis: ArqRedis
) -> None:
    async with a_site(settings) as site:
        now = await index.now()
        first, second = await enqueue(queue, index, 2)
        await redis.zadd(settings.keys.queue, {first: now - 90_000})
        await registry.heartbeat("w1", b'{"refused":"model_unauthorized"}', now, 60_000)
        await registry.heartbeat("w2", b"{}", now, 60_000)
        await registry.heartbeat("w3", b"\xff no JSON", now, 60_000)
        shown = (await site.http.get("/readyz")).json()
        assert (shown["queued"], shown["workers"], shown["workers_refused"]) == (2, 3, 1)
        assert 90 <= shown["oldest_wait_seconds"] < 200
        await redis.zadd(settings.keys.queue, {second: "-inf"})  # by hand
        shown = (await site.http.get("/readyz")).json()
        assert (shown["queued"], shown["oldest_wait_seconds"]) == (2, None)


async def test_readyz_names_a_policy_that_may_drop_jobs_and_forgets_one_that_does_not(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is away at the start. Its policy is logged once, when Redis is back."""
    monkeypatch.setattr("readalong.redis.eviction._EVERY", 0.0)
    port = free_port()
    async with a_site(short_settings(f"redis://127.0.0.1:{port}/0")) as site:
        assert (await site.http.get("/readyz")).json()["maxmemory_policy"] is None
        with RedisServer.start(port=port) as server:
            server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-random")

            async def named() -> bool:
                return bool((await site.http.get("/readyz")).json()["maxmemory_policy"] == "allkeys-random")

            await until(named, "its policy")
            await until(lambda: "REDIS MAY DROP JOBS" in caplog.text, "a line")
            server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
            assert (await site.http.get("/readyz")).json()["maxmemory_policy"] is None
    assert caplog.text.count("REDIS MAY DROP JOBS") == 1


@on_valkey
async def test_a_process_that_does_not_hear_its_own_heartbeat_is_not_ready(
    redis_server: RedisServer, index: JobIndex, registry: WorkerRegistry
) -> None:
    """Otherwise it would report 200 while no event reaches its watchers: subscriptions are refused, all other
    commands are allowed."""
    now = await index.now()
    await registry.heartbeat("w1", b"{}", now, 600_000)
    redis_server.command("ACL", "SETUSER", "default", "-subscribe")
    try:
        async with a_site(short_settings(redis_server.url, hub_heartbeat=0.05)) as site:
            assert (await site.http.get("/readyz")).status_code == 200  # it has only just started

            async def deaf() -> bool:
                answer = await site.http.get("/readyz")
                return answer.status_code == 503 and answer.json()["hub"] == "deaf"

            await until(deaf, "a 503")
            redis_server.command("ACL", "SETUSER", "default", "+subscribe")
            redis_server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

            async def hears() -> bool:
                answer = await site.http.get("/readyz")
                return answer.status_code == 200 and answer.json()["hub"] == "ok"

            await until(hears, "a 200 again")
    finally:
        redis_server.command("ACL", "SETUSER", "default", "+subscribe")


CALLS = (
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/{id}"),
    ("GET", "/v1/jobs/{id}/events"),
    ("POST", "/v1/jobs/{id}/cancel"),
    ("DELETE", "/v1/jobs/{id}"),
    ("POST", "/chat/stream"),
)


async def ask(site: Site, method: str, path: str, job_id: str) -> httpx2.Response:
    body = orjson.dumps(BODY) if method == "POST" and "cancel" not in path else None
    return await site.http.request(method, path.replace("{id}", job_id), content=body)


@on_valkey
async def test_every_call_is_503_while_redis_is_away_and_serves_when_it_is_back(
    log: Log, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """With `Retry-After`, and without a stack trace; `/healthz` does not change. The log has one line for the start
    of the outage and one for its end."""
    player = await Player.start(log)
    async with Proxy(redis_server.port) as proxy, a_site(short_settings(proxy.url, redis_timeout=20)) as site:
        assert (await ask(site, "GET", "/v1/jobs/{id}", player.job_id)).status_code == 200
        proxy.refusing = True
        proxy.cut()
        for method, path in CALLS:
            answer = await ask(site, method, path, player.job_id)
            assert answer.status_code == 503, f"{method} {path}: {answer.text}"
            found = problem(answer, 503, "redis_unavailable")
            assert found.retryable
            assert int(answer.headers["retry-after"]) >= 1
        ready = await site.http.get("/readyz")
        shown = ready.json()
        assert (ready.status_code, shown["redis"], shown["workers"], shown["queued"]) == (503, "away", None, None)
        assert shown["reason"].startswith("Redis does not answer")
        assert ready.headers["retry-after"] == "1"
        assert (await site.http.get("/healthz")).status_code == 200
        proxy.refusing = False
        await until(lambda: "connected" in repr(site.hub), "the hub to reconnect")
        await player.finish()
        check_stream(await site.watch(player.job_id), 0, player.last)
        assert (await site.http.post("/v1/jobs", json=BODY)).status_code == 202
        await until(lambda: "Redis answers again, after" in caplog.text, "its end in the log")
        assert caplog.text.count("; trying again") == 1


@on_valkey
async def test_a_redis_that_does_not_answer_is_503_too(log: Log, redis_server: RedisServer) -> None:
    """Redis' time-out applies, not the client's."""
    player = await Player.start(log)
    async with Proxy(redis_server.port) as proxy, a_site(short_settings(proxy.url, redis_timeout=0.1)) as site:
        proxy.stall()
        problem(await ask(site, "GET", "/v1/jobs/{id}", player.job_id), 503, "redis_unavailable")


async def test_a_full_redis_is_503_and_loses_nothing() -> None:
    """A write that Redis refuses is handled like an outage."""
    with RedisServer.start() as server:
        async with a_site(short_settings(server.url)) as site:
            assert (await site.http.post("/v1/jobs", json=BODY)).status_code == 202
            server.command("CONFIG", "SET", "maxmemory", "1")
            problem(await site.http.post("/v1/jobs", json=BODY), 503, "redis_unavailable")
            server.command("CONFIG", "SET", "maxmemory", "0")
            assert (await site.http.post("/v1/jobs", json=BODY)).status_code == 202


@on_valkey
async def test_a_stream_outlives_an_outage_of_redis(log: Log, redis_server: RedisServer) -> None:
    """Watchers wait, and then get the events that they missed."""
    player = await Player.start(log)
    async with (
        Proxy(redis_server.port) as proxy,
        a_site(short_settings(proxy.url)) as site,
        await site.open(f"/v1/jobs/{player.job_id}/events") as stream,
    ):
        begun = await stream.some(2)
        proxy.refusing = True
        proxy.cut()
        await until(lambda: "away" in repr(site.hub), "the hub to notice")
        await player.say(5)
        proxy.refusing = False
        await player.finish()
        check_stream([*begun, *await stream.rest()], 0, player.last)


@on_valkey
async def test_an_unknown_path_and_a_wrong_method_are_problems(settings: Settings) -> None:
    async with a_site(settings) as site:
        for path in ("/nowhere", "/v1", "/v1/jobs/a/b/c", "/page/nothing.js", "/v2/jobs", "/%00"):
            problem(await site.http.get(path), 404, "not_found")
        for method, path in (
            ("PUT", "/v1/jobs"),
            ("PATCH", "/v1/jobs/x"),
            ("GET", "/chat/stream"),
            ("POST", "/healthz"),
        ):
            answer = await site.http.request(method, path)
            problem(answer, 405, "method_not_allowed")
            assert answer.headers["allow"]


@on_valkey
async def test_a_path_out_of_the_page_s_folder_finds_nothing(settings: Settings) -> None:
    async with a_site(settings) as site:
        for path in ("/page/../app.py", "/page/..%2fapp.py", "/page/%2e%2e/app.py", "/page//etc/passwd"):
            async with await site.open(path) as stream:
                assert stream.status in (400, 404, 405), path


@on_valkey
async def test_an_unexpected_exception_is_a_500_without_a_trace(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_site(settings) as site:

        async def broken(self: Log, job_id: str) -> None:
            raise RuntimeError("secret")

        monkeypatch.setattr(Log, "record", broken)
        answer = await site.http.get(f"/v1/jobs/{new_job_id()}")
        found = problem(answer, 500, "internal_error")
        assert found.retryable
        assert b"secret" not in answer.content
        assert "secret" in caplog.text
        monkeypatch.undo()
        assert (await site.http.get("/healthz")).status_code == 200
