"""Redis over a Unix socket, with a user, a password and a database: each kind of connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from readalong.cli.demo.demo import Demo
from readalong.cli.demo.options import DemoOptions
from readalong.cli.errors import CliError
from readalong.cli.render.terminal import Terminal
from readalong.core.settings import Settings
from tests.api.serving import Stream
from tests.e2e.jobs import chat, paced, submit
from tests.support.stack import Stack
from tests.support.waiting import until

DATABASE = 3


class SocketStack(Stack):
    """A stack whose processes do not know Redis' port."""

    @property
    def path(self) -> Path:
        return Path(self.redis.dir) / "redis.sock"

    @property
    def socket_url(self) -> str:
        return f"unix://ours:p%40ss%2Fword@{self.path}?db={DATABASE}"

    def _start(self, group: int) -> None:
        self.redis.settings = {"unixsocket": str(self.path)}
        self.redis.restart()
        self.redis.command("ACL", "SETUSER", "ours", "on", ">p@ss/word", "~*", "&*", "+@all")
        self._settings["READALONG_REDIS_URL"] = self.socket_url
        super()._start(group)


@pytest.fixture(scope="module")
def stack() -> Iterator[SocketStack]:
    # No poll of the flags: a cancel comes by the worker's own subscription, or not at all.
    with SocketStack(settings={"READALONG_CANCEL_POLL": "60"}) as stack:
        yield stack


async def test_jobs_run_are_watched_and_cancelled_over_a_unix_socket(stack: SocketStack) -> None:
    """The pool, the multiplexed connection, the queue's wait, both subscriptions and arq; each again after a cut."""
    port = int(stack.url.rpartition(":")[2])
    for cut in (False, True):
        job = await submit(stack, paced(tokens=40, rate=40))
        async with await Stream.open(port, f"/v1/jobs/{job.id}/events") as stream:
            seen = await stream.some(4)
            if cut:
                for kind in ("normal", "pubsub"):
                    stack.redis.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            seen += await stream.rest()
        numbers = [int(message.id.partition("-")[0]) for message in seen]
        assert (numbers, seen[-1].event) == (list(range(1, len(seen) + 1)), "done")
        assert (await job.ended())["content"] == job.text
    await until(lambda: _subscribed(stack) >= 2, "both subscriptions")
    endless = await submit(stack, chat("demo-hang"))
    await until(lambda: stack.generations(endless.question), "the call to the model")
    await endless.cancel()
    assert (await endless.ended())["status"] == "cancelled"
    lines = [line.split() for line in stack.redis.command("CLIENT", "LIST").splitlines()]
    used = [dict(word.split("=", 1) for word in line) for line in lines]
    ours = [client for client in used if client["user"] == "ours"]
    assert ours
    # U: by a Unix socket.
    assert all("U" in client["flags"] and client["db"] == str(DATABASE) for client in ours)
    assert stack.key_names() == [], "nothing is in database 0"
    for process in stack.processes:
        assert "p%40ss" not in process.output
        assert "p@ss" not in process.output


async def test_the_demo_finds_a_redis_at_a_unix_socket(stack: SocketStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READALONG_REDIS_URL", stack.socket_url)
    demo = Demo(Settings(), DemoOptions(port=0), Terminal(), Terminal())
    await demo._check_redis()
    assert demo._redis_cli == f"redis-cli -s {stack.path} -n {DATABASE}"
    stack.redis.command("ACL", "SETUSER", "ours", "off")
    with pytest.raises(CliError, match="READALONG_REDIS_URL") as caught:
        await asyncio.wait_for(Demo(Settings(), DemoOptions(port=0), Terminal(), Terminal())._check_redis(), 20)
    assert "ss%2Fword" not in caught.value.message


def _subscribed(stack: Stack) -> int:
    return len(stack.redis.command("CLIENT", "LIST", "TYPE", "PUBSUB").splitlines())
