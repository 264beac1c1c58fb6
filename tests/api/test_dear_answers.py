"""Requests that are cheap to send: what they are answered costs little too, and nothing when no client waits for it."""

from __future__ import annotations

from typing import Any

import pytest

from readalong.log import Log
from readalong.settings import Settings
from tests.api.helpers import Player
from tests.api.serving import a_site, on_valkey
from tests.api.test_bad_clients import send
from tests.support.waiting import until

pytestmark = on_valkey


class Reads:
    """The reads of logs so far: a position and a number of events each. `before` is awaited before each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[int, int]] = []
        self.before: Any = None
        really = Log.read_merged

        async def read_merged(log: Log, job_id: str, after: int, count: int) -> Any:
            self.made.append((after, count))
            if self.before is not None:
                await self.before()
            return await really(log, job_id, after, count)

        monkeypatch.setattr(Log, "read_merged", read_merged)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


async def test_of_an_ended_job_the_end_alone_is_read(settings: Settings, log: Log, reads: Reads) -> None:
    """Its text is there; a million events before it took 9 s of CPU."""
    player = await Player.start(log)
    await player.say(3000)
    async with a_site(settings) as site:
        running = (await site.http.get(f"/v1/jobs/{player.job_id}")).json()
        assert len(reads.made) == 4, "of one that runs, all of it"
        await player.finish()
        ended = (await site.http.get(f"/v1/jobs/{player.job_id}")).json()
    assert len(reads.made) == 4
    assert ended["content"] == running["content"]
    assert (ended["status"], ended["last_seq"]) == ("done", 3003)


async def test_a_long_log_is_not_read_on_for_a_client_that_has_left(
    settings: Settings, log: Log, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routes.jobs._PAGE", 10)
    player = await Player.start(log)
    await player.say(1000)
    async with a_site(settings) as site:
        held = len(site.server.server_state.connections)
        _, writer = await send(site, b"GET /v1/jobs/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % player.job_id.encode())

        async def leave() -> None:
            if len(reads.made) == 2:
                writer.transport.abort()
                await until(lambda: len(site.server.server_state.connections) <= held, "its leaving")

        reads.before = leave
        await until(lambda: len(reads.made) >= 2, "the second page")
        await until(lambda: not site.server.server_state.tasks, "the request's end")
    assert len(reads.made) == 2
