"""Loading, calling and publishing by the scripts, on a real server."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis

from readalong.core.events import parse_live
from readalong.core.keys import Keys
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store.log import Log
from tests.readalong.helpers import command, history, types
from tests.readalong.jobs import WORKER, content, end, running, submission
from tests.support.json_once import loads_once


async def test_each_write_is_one_message_that_parses_to_what_the_log_holds(
    log: Log, redis: ArqRedis, keys: Keys
) -> None:
    new = submission()
    hard = ["", "a\nb\r\n", '"}\\', "\u2028\u2029\u0085", "\0\x1b", "%d%s%%", "🦉", "é" * 5_000, '","type":"done"']
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(keys.live(new.job_id))
        await log.submit(new)
        await log.claim(new.job_id, WORKER, "t")
        await log.append(new.job_id, 1, 3, content(*hard))
        await log.append(new.job_id, 1, 3, content(*hard))  # a repeat is not published again
        called = ("tool_call", b'{"index":0,"id":"call_1","name":"f","arguments":{}}')
        await log.append(new.job_id, 1, 3 + len(hard), [called])
        await log.finish(new.job_id, 1, 4 + len(hard), end("done", by='"\n'), {})
        await redis.publish(keys.live(new.job_id), b"over")
        messages: list[bytes] = []
        while not messages or messages[-1] != b"over":
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=100)
            if message is not None:
                messages.append(message["data"])
    events = await history(log, new.job_id)
    assert [event.fields()["content"] for event in events[2:-2]] == hard
    assert len(messages) == 5 + 1
    assert [event for message in messages[:-1] for event in parse_live(message)] == events
    for line in b"\n".join(messages[:-1]).split(b"\n"):
        assert isinstance(loads_once(line), dict)


async def test_a_server_that_forgot_the_scripts_gets_them_again_before_every_call(log: Log, redis: ArqRedis) -> None:
    async def forget() -> None:
        await command(redis, "SCRIPT", "FLUSH")

    new = submission()
    await forget()
    await log.submit(new)
    await forget()
    await log.claim(new.job_id, WORKER, "t")
    await forget()
    await log.append(new.job_id, 1, 3, content("a"))
    await forget()
    await log.requeue(new.job_id, 1, "deploy", counts=False)
    await forget()
    await log.cancel(new.job_id, "ann")
    await forget()
    await log.finish(new.job_id, 1, 4, end("cancelled"), {})
    assert types(await history(log, new.job_id)) == ["queued", "started", "content", "cancelled"]


async def test_a_script_is_sent_once_and_then_called_by_its_digest(log: Log, redis: ArqRedis) -> None:
    async def calls() -> dict[str, int]:
        stats = await redis.info("commandstats")
        return {name: stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha")}

    job_id = await running(log)
    await log.append(job_id, 1, 3, content("a"))
    before = await calls()
    for number in range(4, 24):
        await log.append(job_id, 1, number, content("a"))
    after = await calls()
    assert (after["eval"] - before["eval"], after["evalsha"] - before["evalsha"]) == (0, 20)


async def test_a_mistake_in_a_call_is_not_hidden(redis: ArqRedis, settings: Settings) -> None:
    with pytest.raises(KeyError):
        await RedisFacade(redis, settings).call("no_such_script", [])
