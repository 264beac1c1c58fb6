"""Runs the code of docs/embedding.md: the API in another application, on another server, and a policy."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import httpx2

from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Player, check_stream
from tests.api.http.test_root_path import follow
from tests.api.serving import Stream, a_site, on_valkey
from tests.support.processes import Process
from tests.support.servers import free_port
from tests.support.waiting import until

pytestmark = on_valkey

_DOCS = Path(__file__).parents[2] / "docs/embedding.md"
MOUNT, POLICY = re.findall(r"^```python\n(.+?)^```$", _DOCS.read_text(), re.MULTILINE | re.DOTALL)
#: uvicorn's own server and protocol, without ours.
_SERVE = "\nimport sys, uvicorn\nuvicorn.run(app, port=int(sys.argv[1]))\n"


async def test_the_lines_of_the_docs_mount_it_with_its_addresses_and_the_end_of_its_streams(
    redis_url: str, settings: Settings, log: Log, tmp_path: Path
) -> None:
    """uvicorn alone would wait for the stream for ever. The client resumes elsewhere, and misses nothing."""
    assert len([line for line in MOUNT.splitlines() if line]) <= 9
    player = await Player.start(log)
    path = f"/ai/v1/jobs/{player.job_id}/events"
    port = free_port()
    environment = {**os.environ, "READALONG_REDIS_URL": redis_url}
    process = Process("host", ["-c", MOUNT + _SERVE, str(port)], environment, tmp_path)
    process.start(0)
    try:
        await asyncio.to_thread(process.line, "(Uvicorn running)")
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=100, verify=False) as http:
            await follow("/ai", "/ai", http)
        async with await Stream.open(port, path) as stream, asyncio.timeout(100):
            seen = await stream.some(2)
            process.term()
            assert await stream.rest() == []
        await until(lambda: process.code is not None, "the end of the process")
        assert "Traceback" not in process.output
    finally:
        process.kill()
    await player.finish()
    async with a_site(settings) as site:
        rest = await site.watch(player.job_id, after=2)
    check_stream([*seen, *rest], 0, player.last)


async def test_the_policy_of_the_docs_keeps_owners_apart(settings: Settings) -> None:
    names: dict[str, Any] = {}
    exec(POLICY, names)
    async with a_site(settings, names["OwnJobs"]({"a-key": "ann", "b-key": "bob"})) as site:
        body = {"messages": [{"role": "user", "content": "hi"}]}
        assert (await site.http.post("/v1/jobs", json=body)).status_code == 401
        ann, bob = ({"Authorization": f"Bearer {key}"} for key in ("a-key", "b-key"))
        made = await site.http.post("/v1/jobs", json=body, headers=ann)
        path = made.headers["location"]
        assert [(await site.http.get(path, headers=who)).status_code for who in (ann, bob, {})] == [200, 404, 401]
        assert (await site.http.delete(path, headers=bob)).status_code == 404
        lists = [(await site.http.get("/v1/jobs", headers=who)).json()["jobs"] for who in (ann, bob)]
        assert [len(jobs) for jobs in lists] == [1, 0]
        assert (await site.http.delete(path, headers=ann)).status_code == 204
