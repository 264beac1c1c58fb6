"""Redis carries out a cancel and the API does not get the reply: the connection breaks, or the API dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.e2e.jobs import Job, chat, submit
from tests.e2e.test_cancelling import assert_cancelled
from tests.support.client import Cut
from tests.support.history import assert_whole, kinds
from tests.support.proxy import Proxy, once
from tests.support.stack import Stack
from tests.support.waiting import until

#: The reply of Redis to the cancel of a job in each state. Others may come before it in one piece.
ANSWERS = {
    "queued": b"*2\r\n$9\r\ncancelled\r\n",
    "before the first token": b"*2\r\n$7\r\nrunning\r\n",
    "streaming": b"*2\r\n$7\r\nrunning\r\n",
}


async def job_at(stack: Stack, state: str) -> Job:
    if state == "queued":
        stack.workers[0].stop()
    job = await submit(stack, chat("demo-endless" if state == "streaming" else "demo-hang"))
    if state == "streaming":
        await job.reach(5)
    elif state != "queued":
        await job.at_model()
    return job


def go_away(proxy: Proxy) -> None:
    proxy.refusing = True
    proxy.cut()


@pytest.mark.parametrize("state", ANSWERS)
@pytest.mark.parametrize("how", ["cut", "away", "API killed"])
async def test_a_cancel_whose_reply_is_lost_on_its_way_to_the_api_is_done_once(
    routed: Stack, state: str, how: str
) -> None:
    """The client gets 202, 503 or no response.

    Without a nudge to the worker, the flag ends the job. A second cancel changes nothing, and the watcher, who
    reconnects, gets one end.
    """
    job = await job_at(routed, state)
    watcher = job.watcher()
    watching = asyncio.create_task(watcher.run())
    await until(lambda: watcher.history, "the first event")  # the API has read the job for this watcher
    acts: dict[str, Callable[[Proxy], object]] = {"cut": Proxy.cut, "away": go_away}
    act = acts.get(how, lambda _: routed.apis[0].kill())
    lost = once(routed.api_route, lambda piece: ANSWERS[state] in piece, act, keep=False)
    if how == "API killed":
        with pytest.raises(Cut):
            await job.cancel()
        routed.apis[0].restart()
        await asyncio.to_thread(routed.apis[0].line, "(startup complete)")
    else:
        answer = await job.cancel()
        routed.api_route.do(Proxy.mend)
        refused = {"code": "redis_unavailable"} if how == "away" else {}
        assert answer.status == (503 if refused else 202)
        assert answer.headers.get("retry-after") == ("1" if refused else None)
        assert answer.json().items() >= refused.items()
    assert lost.is_set(), "Redis had done it"
    if state != "queued":
        await assert_cancelled(job)
    assert (await job.cancel()).json()["status"] == "cancelled"
    routed.workers[0].cont()
    await assert_cancelled(job)
    log = routed.log_of(job.id)
    assert_whole(log, (await watching).history)
    assert (kinds(log) == ["queued", "cancelled"]) is (state == "queued")
    assert len(routed.generations(job.question)) == (state != "queued")
