"""The access log."""

from __future__ import annotations

import httpx2
import pytest

from readalong.store.log import Log
from tests.api.helpers import Player
from tests.api.process import ApiProcess
from tests.api.routes.test_submit import BODY
from tests.api.serving import Stream, on_valkey


@on_valkey
@pytest.mark.parametrize("wanted", [True, False])
async def test_each_request_is_a_line_with_its_job_where_that_is_wanted(redis_url: str, log: Log, wanted: bool) -> None:
    """A submit's line has the new job's id. A stream has its line at its start. No line has the query, which may be
    private."""
    player = await Player.start(log)
    async with ApiProcess(redis_url, access_log=wanted) as api:
        await api.wait_for_serving()
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", timeout=60) as http:
            submitted = (await http.post("/v1/jobs", json=BODY)).json()["id"]
            async with await Stream.open(api.port, f"/v1/jobs/{player.job_id}/events?after=1") as stream:
                await stream.some(1)
            missing = "/v1/jobs/no%0Ajob%1b"
            assert (await http.get(missing)).status_code == 404
            assert (await http.get("/healthz?secret=1")).status_code == 200
        api.signal()
        await api.wait_for_end()
        lines = [line for line in api.log.splitlines() if line.startswith("INFO 127.0.0.1 ")]
    if not wanted:
        assert lines == []
        return
    heads = [line.partition(", ")[0].removeprefix("INFO 127.0.0.1 ") for line in lines]
    assert heads == [
        "POST /v1/jobs: 202",
        f"GET /v1/jobs/{player.job_id}/events: 200",
        f"GET {missing}: 404",
        "GET /healthz: 200",
    ]
    assert [line.partition(", job ")[2] for line in lines] == [submitted, player.job_id, "", ""]
    assert "secret" not in "".join(lines)
