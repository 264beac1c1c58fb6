"""`/agui`, as AG-UI's clients call it."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import orjson
from starlette.datastructures import Headers

from readalong.api.auth.policy import AllowAll, Unauthorized
from readalong.api.wire.ag_ui import AgUi
from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Player
from tests.api.serving import Site, Stream, a_site, on_valkey
from tests.support.waiting import until

pytestmark = on_valkey

BODY: dict[str, Any] = {
    "threadId": "a thread",
    "runId": "a-run",
    "messages": [{"id": "u", "role": "user", "content": "hi"}],
    "state": {},
    "tools": [],
    "context": [],
    "forwardedProps": {},
}


async def post(site: Site, *headers: str, **changes: Any) -> Stream:
    raw = orjson.dumps(BODY | changes)
    return await site.open("/agui", method="POST", body=raw, headers=["Content-Type: application/json", *headers])


async def rest_of(site: Site, path: str, after: str = "") -> bytes:
    async with await site.open(path, headers=[f"Last-Event-ID: {after}"] if after else []) as stream:
        assert stream.status == 200, stream.head
        await stream.rest()
        return bytes(stream.body)


async def test_a_run_is_resumed_at_any_frame_by_its_id_or_its_jobs(settings: Settings, log: Log) -> None:
    """Also inside an event with several frames, and when the run has ended. Behind its end there is nothing."""
    async with a_site(settings) as site, await post(site) as stream:
        job_id = stream.headers["x-job-id"]
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["location"] == f"/v1/jobs/{job_id}"
        player = await Player.start(log, job_id)
        await player.append(NewEvent("reasoning", {"content": "Hm"}), NewEvent("content", {"content": "x"}))
        async with await site.open("/agui/runs/a-run") as resumed:
            await resumed.some(1)
            await player.claim("second")
            await player.append(NewEvent("content", {"content": "y"}))
            await player.finish(finish_reason="stop")
            messages = await stream.rest()
            await resumed.rest()
            assert stream.body == resumed.body
        whole = bytes(stream.body)
        assert whole.startswith(b'id: 0.1\ndata: {"type":"RUN_STARTED","threadId":"a thread","runId":"a-run"')
        assert b'"MESSAGES_SNAPSHOT","messages":[{"id":"u","role":"user","content":"hi"},' in whole
        assert await rest_of(site, f"/agui/runs/{job_id}") == whole
        frames = whole.split(b"\n\n")[:-1]
        assert len(messages) == len(frames)
        for number, frame in enumerate(frames[:-1], 1):
            frame_id = frame.partition(b"\n")[0].removeprefix(b"id: ").decode()
            assert await rest_of(site, "/agui/runs/a-run", frame_id) == b"\n\n".join([*frames[number:], b""]), frame_id
        last = frames[-1].partition(b"\n")[0].removeprefix(b"id: ").decode()
        assert (await site.http.get("/agui/runs/a-run", headers={"Last-Event-ID": last})).status_code == 204
        head = await site.http.head("/agui/runs/a-run")
        assert (head.status_code, head.headers["x-job-id"]) == (200, job_id)
        for wrong in ("x", "1.x", "1.1.1", "1.-1", f"1.{'9' * 10}"):
            answer = await site.http.get("/agui/runs/a-run", headers={"Last-Event-ID": wrong})
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_position")


async def test_a_run_is_submitted_once(settings: Settings) -> None:
    """A repeat is the same run. The same id for another run is a mistake."""
    async with a_site(settings) as site, await post(site) as first, await post(site) as again:
        assert again.headers["x-job-id"] == first.headers["x-job-id"]
        answer = await site.http.post("/agui", json=BODY | {"threadId": "another"})
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
        assert answer.headers["content-type"] == "application/json"
        answer = await site.http.get("/agui/runs/another")
        assert answer.json() == {"message": "This run does not exist.", "code": "job_not_found", "retryable": False}
        job = (await site.http.post("/v1/jobs", json={"messages": BODY["messages"]})).json()
        assert (await site.http.get(f"/agui/runs/{job['id']}")).status_code == 404  # a job that is no run


async def test_the_next_run_of_a_thread_takes_the_place_of_the_one_that_runs(settings: Settings, log: Log) -> None:
    """Unless it says otherwise. The thread has the client's messages and the answer, whose id is its message's."""
    async with a_site(settings) as site, await post(site) as left:
        player = await Player.start(log, left.headers["x-job-id"])
        rejects = {"readalong": {"thread_policy": "reject"}}
        async with await post(site, runId="refused", forwardedProps=rejects) as refused:
            assert refused.status == 409
        async with await post(site, runId="next") as following:
            assert await log.flags([player.job_id])
            await player.finish("cancelled", by="thread")
            await left.rest()
            assert b'"outcome":{"type":"cancelled"}' in left.body
            await site.deps.turns.settle(player.job_id)
            second = await Player.start(log, following.headers["x-job-id"])
            await second.append(NewEvent("content", {"content": "yes"}))
            await second.finish(content="yes", finish_reason="stop")
            await following.rest()
            await site.deps.turns.settle(second.job_id)
        thread = (await site.http.get("/v1/threads/a%20thread")).json()
        assert [each["message"]["content"] for each in thread["entries"]] == ["hi", "yes"]
        assert f'"messageId":"{thread["entries"][-1]["id"]}"'.encode() in following.body


class Owners(AllowAll):
    """Pairs by the header `owner`."""

    async def submit(self, headers: Headers) -> Mapping[str, str]:
        return {"owner": headers.get("owner", "")}


async def test_another_owners_run_of_the_same_id_is_another_run(settings: Settings) -> None:
    async with a_site(settings, Owners()) as site, await post(site, "owner: a") as first:
        assert (await site.http.get("/agui/runs/a-run", headers={"owner": "b"})).status_code == 404
        async with await post(site, "owner: b") as second:
            assert second.headers["x-job-id"] != first.headers["x-job-id"]
        found = await site.http.head("/agui/runs/a-run", headers={"owner": "a"})
        assert found.headers["x-job-id"] == first.headers["x-job-id"]


class NoOne(AllowAll):
    """Lets no one in."""

    async def submit(self, headers: Headers) -> Mapping[str, str]:
        raise Unauthorized


async def test_each_call_asks_the_policy_before_it_reads_a_body(settings: Settings) -> None:
    async with a_site(settings, NoOne()) as site:
        for answer in (await site.http.post("/agui", content=b"{"), await site.http.get("/agui/runs/x")):
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert answer.json() == {"message": "Credentials required.", "code": "unauthorized", "retryable": False}


async def test_a_run_whose_client_is_gone_is_cancelled(settings: Settings) -> None:
    """`abortRun` only closes the connection."""
    async with a_site(settings) as site, await post(site) as stream:
        job = (await site.http.get(f"/v1/jobs/{stream.headers['x-job-id']}")).json()
        assert job["cancel_on_disconnect"] is True
        props = {"readalong": {"cancel_on_disconnect": False}}
        async with await post(site, runId="stays", threadId="t", forwardedProps=props) as stays:
            job = (await site.http.get(f"/v1/jobs/{stays.headers['x-job-id']}")).json()
            assert job["cancel_on_disconnect"] is False


async def test_watchers_of_a_run_hold_its_input_once(settings: Settings) -> None:
    """It may be megabytes, and a watcher costs a connection."""
    async with a_site(settings) as site, await post(site, threadId="held") as stream, AsyncExitStack() as watching:
        for _ in range(3):
            resumed = await watching.enter_async_context(await site.open("/agui/runs/a-run"))
            await resumed.some(1)
        await stream.some(1)

        def held() -> bool:
            gc.collect()
            formats = [each for each in gc.get_objects() if isinstance(each, AgUi) and each.thread_id == "held"]
            return len({id(each.messages) for each in formats}) == 1

        await until(held, "one copy")
