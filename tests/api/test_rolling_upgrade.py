"""An API that is older than the workers forwards events and fields that it does not know."""

from __future__ import annotations

import orjson

from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Player, number
from tests.api.serving import a_site, on_valkey
from tests.readalong.helpers import command

NEWS = {"novelty": {"a": [1, None]}, "text": "ü"}


@on_valkey
async def test_events_and_fields_that_an_api_does_not_know_reach_its_watchers_as_they_are(
    settings: Settings, log: Log
) -> None:
    """Live and from the log, each with its number. The job and its text are shown as usual."""
    player = await Player.start(log)
    path = f"/v1/jobs/{player.job_id}"
    async with a_site(settings) as site:
        async with await site.open(f"{path}/events") as stream:
            seen = await stream.some(2)
            said = [("invented", orjson.dumps(NEWS)), ("content", b'{"content":"one","new":1}')]
            await log.append(player.job_id, 1, 3, said)
            player.last = 4
            await player.finish(content="one")
            seen += await stream.rest()
        async with await site.open(f"{path}/events") as late:
            assert [(one.id, one.event, one.data) for one in await late.rest()] == [
                (one.id, one.event, one.data) for one in seen
            ]
        assert [(number(one), one.event) for one in seen[2:]] == [(3, "invented"), (4, "content"), (5, "done")]
        assert [orjson.loads(one.data) for one in seen[2:4]] == [
            {"type": "invented", **NEWS},
            {"type": "content", "content": "one", "new": 1},
        ]
        await command(log._redis.for_arq(), "HSET", settings.keys.job(player.job_id), "invented", "field")
        shown = (await site.http.get(path)).json()
        assert (shown["status"], shown["content"], shown["last_seq"]) == ("done", "one", 5)
