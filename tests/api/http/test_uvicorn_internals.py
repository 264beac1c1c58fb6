"""The internals of uvicorn that the API uses exist in this release; without them the API uses documented interfaces."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import httpx2
import pytest

from readalong.api.http.uvicorn_internals import missing
from readalong.store.log import Log
from tests.api.helpers import Player, check_stream
from tests.api.serving import Stream, on_valkey
from tests.support.processes import API_CODE, Process
from tests.support.servers import free_port
from tests.support.waiting import until

BODY = {"messages": [{"role": "user", "content": "hi"}]}
#: Code that runs before that of the process: it removes a name of a module, or of a class.
GONE = {
    "cannot import name 'FlowControl'": """
import sys
from uvicorn.protocols.http import flow_control, httptools_impl
del flow_control.FlowControl
sys.modules.pop("readalong.api.http.uvicorn_internals", None)
""",
    "FlowControl.read_paused": """
from uvicorn.protocols.http.flow_control import FlowControl
def init(self, transport, really=FlowControl.__init__):
    really(self, transport)
for name in ("pause_reading", "resume_reading"):
    setattr(FlowControl, name, lambda self: None)
FlowControl.__init__ = init
""",
}


def test_this_release_of_uvicorn_has_all_that_is_used_of_its_inside() -> None:
    """If this fails with a newer release, change api/http/uvicorn_internals.py and move the bound in pyproject.toml."""
    assert [*missing()] == []


@pytest.mark.parametrize("gone", GONE)
@on_valkey
async def test_without_a_name_of_the_inside_all_is_served_by_what_uvicorn_documents(
    redis_url: str, log: Log, tmp_path: Path, gone: str
) -> None:
    """Submit, watch, stream, list, cancel, erase, and SIGTERM with an open stream. The log names the missing
    internals."""
    port = free_port()
    environment = {**os.environ, "READALONG_REDIS_URL": redis_url}
    process = Process("api", ["-c", GONE[gone] + API_CODE, str(port)], environment, tmp_path)
    process.start(0)
    try:
        await asyncio.to_thread(process.line, "(startup complete)")
        assert gone in process.output
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=100, verify=False) as http:
            await until(lambda: "serving on" in process.output, "the first line of its log")
            path = (await http.post("/v1/jobs", json=BODY)).headers["location"]
            async with http.stream("POST", "/chat/stream", json=BODY) as chat:
                assert chat.status_code == 200
                assert (await http.post(f"{chat.headers['location']}/cancel")).status_code == 202
                assert "[DONE]" in (await chat.aread()).decode()
            assert len((await http.get("/v1/jobs")).json()["jobs"]) == 2
            assert (await http.delete(path)).status_code == 204
            player = await Player.start(log)
            async with await Stream.open(port, f"/v1/jobs/{player.job_id}/events") as stream:
                seen = await stream.some(2)
                await player.say(3)
                await player.finish()
                check_stream([*seen, *await stream.rest()], 0, player.last)
        silent = await Player.start(log)
        async with await Stream.open(port, f"/v1/jobs/{silent.job_id}/events") as stream:
            await stream.some(2)
            process.term()
            assert await stream.rest() == []
        await until(lambda: process.code is not None, "the end of the process")
        assert process.code == 0
        assert "Traceback" not in process.output
    finally:
        process.kill()
