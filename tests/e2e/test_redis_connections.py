"""Each connection to Redis is killed or half-open while a job streams; then all are slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.e2e.jobs import assert_unharmed, chat, submit, watched
from tests.support.history import assert_whole
from tests.support.proxy import Route, is_multiplexed
from tests.support.stack import Stack
from tests.support.waiting import until

#: Data that the client of this connection has sent, and no other connection of the same process.
CONNECTIONS: dict[str, Callable[[bytes], bool]] = {
    "worker's multiplexed connection": is_multiplexed,
    "worker's blocking pop": lambda said: b"BLPOP" in said,
    "worker's control channel": lambda said: b"readalong:control" in said,
    "worker's pool": lambda said: not any(word in said for word in (b"EVALSHA", b"BLPOP", b"readalong:control")),
    "API's subscription": lambda said: b"SUBSCRIBE" in said,
    "API's multiplexed connection": is_multiplexed,
    "API's pool": lambda said: b"PUBLISH" in said,
}


def route_of(stack: Stack, name: str) -> Route:
    return stack.worker_route if name.startswith("worker") else stack.api_route


async def addresses(stack: Stack, name: str) -> list[str]:
    """Returns the connections of this kind; waits until there are any."""
    route, chosen = route_of(stack, name), CONNECTIONS[name]
    return await until(lambda: route.do(lambda proxy: proxy.addresses(chosen)), name)


@pytest.mark.parametrize("how", ["killed", "half-open"])
@pytest.mark.parametrize("name", CONNECTIONS)
async def test_a_broken_connection_is_replaced_and_harms_no_job(routed: Stack, name: str, how: str) -> None:
    """By CLIENT KILL, or behind a route that forwards nothing and closes nothing. The next job runs too."""
    job, watching = await watched(routed, tokens=40, rate=100)
    broken = await addresses(routed, name)
    if how == "killed":
        for address in broken:
            routed.redis.command("CLIENT", "KILL", "ADDR", address)
    else:
        assert route_of(routed, name).do(lambda proxy: proxy.freeze(CONNECTIONS[name])) >= 1
    await assert_unharmed(job, watching)
    following, watching = await watched(routed, tokens=3)
    await assert_unharmed(following, watching)

    async def anew() -> bool:
        return not set(await addresses(routed, name)) <= set(broken)

    await until(anew, "a new connection")


async def test_a_nudge_over_a_control_channel_that_was_half_open_is_heard(routed: Stack) -> None:
    """The poll of the flags alone would take a minute."""
    routed.workers[0].restart(READALONG_CANCEL_POLL="60")
    broken = await addresses(routed, "worker's control channel")
    routed.worker_route.do(lambda proxy: proxy.freeze(CONNECTIONS["worker's control channel"]))

    async def anew() -> bool:
        return not set(await addresses(routed, "worker's control channel")) <= set(broken)

    await until(anew, "a new connection")
    job = await submit(routed, chat("demo-hang"))
    await job.at_model()
    await job.cancel()
    assert (await job.ended())["status"] == "cancelled"
    await job.model_let_go()


@pytest.mark.slow
async def test_a_slow_redis_slows_a_job_and_harms_no_job(routed: Stack) -> None:
    """Each command takes 200 ms longer; a cancel works as well."""
    for process in (routed.apis[0], routed.workers[0]):
        process.restart(READALONG_REDIS_TIMEOUT="5", READALONG_HUB_HEARTBEAT="5")
    await asyncio.to_thread(routed.wait_ready)
    for route in (routed.api_route, routed.worker_route):
        route.do(lambda proxy: setattr(proxy, "delay", 0.2))
    job, watching = await watched(routed, tokens=40, rate=100)
    endless = await submit(routed, chat("demo-endless"))
    await assert_unharmed(job, watching)
    await endless.reach(3)
    await endless.cancel()
    assert (await endless.ended())["status"] == "cancelled"
    assert_whole(routed.log_of(endless.id))
    await endless.model_let_go()


async def test_a_subscription_that_redis_drops_because_its_api_does_not_read_costs_no_event(routed: Stack) -> None:
    """The API is paused for longer than Redis keeps its output buffer."""
    job, watching = await watched(routed, tokens=40, rate=100)
    api, redis = routed.apis[0], routed.redis
    api.stop()
    redis.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 65536 0 0")
    [own] = redis.command("PUBSUB", "CHANNELS", "readalong:heartbeat:*")
    await until(lambda: not redis.command("PUBLISH", own, "x" * 1_000_000), "Redis to drop it")
    await until(lambda: routed.log_of(job.id)[-1].terminal, "the end of the job")
    redis.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 33554432 8388608 60")
    api.cont()
    await assert_unharmed(job, watching)
    await until(lambda: "subscription lost" in api.output, "the API to notice")
