"""The operators' calls, over HTTP: the status in its described form, whatever Redis does."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from readalong.api.operations_board import StatusBoard
from readalong.core.settings import Settings
from readalong.redis.facade import RedisFacade
from readalong.store.health import Probe
from readalong.store.job_index import JobIndex
from readalong.store.stats import StatsStore
from readalong.store.status import StatusStore
from readalong.store.worker_registry import WorkerRegistry
from tests.api.auth.test_policy import ANN, OPS, Owners
from tests.api.serving import Site, a_site, on_valkey, short_settings
from tests.support.servers import free_port


async def described(site: Site, path: str) -> Any:
    """Returns the response of a GET, after a check that it has the form that the API describes."""
    answer = await site.http.get(path)
    assert answer.status_code == 200, answer.text
    document = (await site.http.get("/openapi.json")).json()
    schema = document["paths"][path.partition("?")[0]]["get"]["responses"]["200"]["content"]["application/json"][
        "schema"
    ]
    Draft202012Validator({**document, **schema}).validate(answer.json())
    return answer.json()


@on_valkey
async def test_the_status_names_what_is_the_matter(
    settings: Settings, registry: WorkerRegistry, index: JobIndex
) -> None:
    async with a_site(settings) as site:
        shown = await described(site, "/v1/status")
        assert shown["findings"][0]["code"] == "no_worker"
        sign = {"id": "w1", "host": "h", "pid": 1, "slots": 2, "running": [], "at": "2026-11-30T03:00:00.000Z"}
        await registry.heartbeat("w1", orjson.dumps(sign), await index.now(), 60_000)
        shown = await described(site, "/v1/status")
        [worker] = shown["workers"]
        assert (worker["id"], worker["alive"], worker["slots"], worker["version"]) == ("w1", True, 2, None)
        assert worker["last_heartbeat_at"] == "2026-11-30T03:00:00.000Z"
        assert (shown["redis"]["state"], shown["queue"]["length"]) == ("ok", 0)
        assert 0 < shown["redis"]["round_trip_seconds"] < 60


async def test_the_status_is_a_200_while_redis_is_away() -> None:
    async with a_site(short_settings(f"redis://127.0.0.1:{free_port()}/0")) as site:
        shown = await described(site, "/v1/status")
        assert [found["code"] for found in shown["findings"]] == ["redis_away"]
        assert (shown["redis"]["state"], shown["queue"]["length"], shown["jobs"]["done"]) == ("away", None, None)


@on_valkey
async def test_an_owner_of_jobs_may_not_see_what_concerns_all(settings: Settings) -> None:
    async with a_site(settings, Owners(hides=True)) as site:
        assert (await site.http.get("/v1/status", headers=ANN)).status_code == 403
        assert (await site.http.get("/v1/status", headers=OPS)).status_code == 200


@pytest.mark.parametrize(
    ("url", "sentinels", "cli"),
    [
        ("redis://:secret@127.0.0.1:1/0", "", "`redis-cli -u 'redis://:***@127.0.0.1:1/0' ping`"),
        ("unix:///run/a%20place/redis.sock?db=2", "", "`redis-cli -s '/run/a place/redis.sock' -n 2 ping`"),
        ("redis://mymaster/0", "127.0.0.1:1", "`redis-cli -h PRIMARY ping`"),
    ],
)
async def test_what_to_do_names_a_command_that_reaches_this_redis(url: str, sentinels: str, cli: str) -> None:
    settings = short_settings(url, sentinels=sentinels, redis_timeout=0.5)
    redis = RedisFacade.connect(settings)
    board = StatusBoard(StatusStore(redis, settings, Probe(redis, settings)), StatsStore(redis, settings), settings)
    [away] = (await board.look())["findings"]
    assert cli in away["action"]
    assert "secret" not in str(away)
    await redis.close()
