"""`/v1/changes`: what operators see of all jobs, live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
import pytest

from readalong.api.app import create_app, running
from readalong.api.auth.policy import Policy
from readalong.core.keys import new_job_id
from readalong.core.settings import Settings
from readalong.core.sse import Message
from readalong.store.log import Log
from tests.api.auth.test_policy import ANN, BOB, OPS, Owners, submitted
from tests.api.helpers import Player
from tests.api.routes.test_submit import BODY
from tests.api.serving import Site, Stream, a_site, on_valkey, short_settings
from tests.readalong.jobs import submission
from tests.support.servers import RedisServer, free_port
from tests.support.waiting import WITHIN, until

pytestmark = on_valkey


class Changes:
    """One client's stream: all messages so far, by their event."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.seen: list[Message] = []

    async def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """Reads until a message of this event has these fields. Returns its data."""
        while True:
            for message in self.seen:
                data: dict[str, Any] = orjson.loads(message.data)
                if message.event == event and data.items() >= fields.items():
                    return data
            more = await self._stream.messages()
            assert more is not None, f"the stream ended before {event} {fields}"
            self.seen += more

    def of(self, event: str) -> list[dict[str, Any]]:
        return [orjson.loads(message.data) for message in self.seen if message.event == event]

    async def ends(self) -> None:
        self.seen += await self._stream.rest()

    def close(self) -> None:
        self._stream.vanish()


class Place:
    """A site, and streams that close before it."""

    def __init__(self, site: Site, resources: AsyncExitStack) -> None:
        self.site = site
        self._resources = resources

    async def stream(self, path: str, **options: Any) -> Stream:
        stream: Stream = await self._resources.enter_async_context(await self.site.open(path, **options))
        return stream

    async def changes(self, query: str = "", *, who: dict[str, str] | None = None, first: str = "status") -> Changes:
        """Returns a stream that has had a message of this event."""
        stream = await self.stream(
            f"/v1/changes{query}", headers=[f"{name}: {value}" for name, value in (who or {}).items()]
        )
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        changes = Changes(stream)
        if first:
            await changes.until(first)
        return changes


@asynccontextmanager
async def watched(settings: Settings, policy: Policy | None = None) -> AsyncIterator[Place]:
    """A process that does not get to its heartbeats on a busy machine would end the streams."""
    async with (
        a_site(settings.model_copy(update={"hub_heartbeat": 60.0}), policy) as site,
        AsyncExitStack() as resources,
    ):
        yield Place(site, resources)


async def test_each_change_of_a_jobs_state_is_told_with_the_job_as_the_list_has_it(settings: Settings) -> None:
    async with watched(settings) as place:
        site = place.site
        changes = await place.changes()
        job_id = (await site.http.post("/v1/jobs", json=BODY)).json()["id"]
        await changes.until("job", id=job_id, status="queued")
        player = await Player.start(site.deps.log, job_id)
        await changes.until("job", id=job_id, status="running", attempt=1)
        await player.say(20)
        await player.claim("second")
        await changes.until("job", id=job_id, status="running", attempt=2)
        await player.finish()
        told = await changes.until("job", id=job_id, status="done")
        listed = (await site.http.get("/v1/jobs")).json()["jobs"]
        assert [told] == listed
        assert (await site.http.delete(f"/v1/jobs/{job_id}")).status_code == 204
        await changes.until("erased", id=job_id)
        # Tokens change no state: one frame for each change, however many tokens there were.
        assert [job["status"] for job in changes.of("job")] == ["queued", "running", "running", "done"]


async def test_a_job_that_ends_before_it_began_is_told_too(settings: Settings) -> None:
    async with watched(settings) as place:
        site = place.site
        changes = await place.changes()
        job_id = (await site.http.post("/v1/jobs", json=BODY)).json()["id"]
        assert (await site.http.post(f"/v1/jobs/{job_id}/cancel")).status_code == 202
        await changes.until("job", id=job_id, status="cancelled")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?status=queued", ["queued", "running"]),
        ("?status=running", ["running", "done"]),
        ("?status=done", ["done"]),
        ("?model=m", ["queued", "running", "done"]),
        ("?model=other", []),
        ("?metadata.user=u", ["queued", "running", "done"]),
        ("?metadata.user=x", []),
        ("?thread=none", []),
    ],
)
async def test_filters_are_those_of_the_list_and_a_job_that_leaves_a_state_is_told(
    settings: Settings, query: str, told: list[str]
) -> None:
    async with watched(settings) as place:
        site = place.site
        changes, every = await place.changes(query), await place.changes()
        player = await Player.start(site.deps.log)
        await every.until("job", id=player.job_id, status="running")
        await player.finish()
        await every.until("job", id=player.job_id, status="done")
        # Behind all others: the stream has had what it gets.
        await site.deps.log.delete(player.job_id)
        await every.until("erased", id=player.job_id)
        if told:
            await changes.until("erased", id=player.job_id)
        states = [job["status"] for job in changes.of("job")]
        # The two changes of a submit and a claim may be read together.
        assert states == told or states == told[1:]


async def test_an_owner_sees_own_jobs_and_neither_others_nor_the_status(settings: Settings) -> None:
    async with watched(settings, Owners(hides=True)) as place:
        site = place.site
        # The head of a stream says that nothing is missed from now on.
        ann, bob = await place.changes(who=ANN, first=""), await place.changes(who=BOB, first="")
        job_id = await submitted(site, ANN)
        await ann.until("job", id=job_id, status="queued")
        assert (await site.http.delete(f"/v1/jobs/{job_id}", headers=ANN)).status_code == 204
        await ann.until("erased", id=job_id)
        last = await submitted(site, BOB)
        await bob.until("job", id=last)
        assert [message.event for message in bob.seen] == ["job"]
        assert job_id.encode() not in b"".join(message.data for message in bob.seen)
        assert not ann.of("status")
        operator = await place.changes(who=OPS)
        last = await submitted(site, ANN)
        await operator.until("job", id=last)


async def test_the_status_comes_at_once_and_when_it_changes_with_one_look_for_all(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readalong.api.fanout.changes.LOOK_EVERY", 0.05)
    async with watched(settings) as place:
        site = place.site
        looks = 0
        look = site.deps.changes._look

        async def counted() -> Any:
            nonlocal looks
            looks += 1
            return await look()

        monkeypatch.setattr(site.deps.changes, "_look", counted)
        streams = [await place.changes() for _ in range(5)]
        assert streams[0].of("status")[0]["findings"][0]["code"] == "no_worker"
        before = looks
        now = await site.deps.index.now()
        sign = orjson.dumps({"id": "w1", "slots": 2, "running": []})
        await site.deps.registry.heartbeat("w1", sign, now, 60_000)
        for stream in streams:
            while "w1" not in [worker["id"] for worker in stream.of("status")[-1]["workers"]]:
                stream.seen += await stream._stream.some(1)
        # Five streams with a look each would have taken five times as many.
        assert looks - before < 5 * len(streams[0].of("status")) + 5
        for stream in streams:
            stream.close()
        await until(lambda: not len(site.deps.changes), "their end")
        channel = settings.keys.changes
        assert await site.deps.redis.command("PUBSUB", "NUMSUB", channel) == [channel.encode(), 0]


async def test_a_stream_ends_when_messages_may_be_lost_and_its_client_begins_anew(
    redis_server: RedisServer, settings: Settings
) -> None:
    async with watched(settings) as place:
        site = place.site
        changes = await place.changes()
        redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await changes.ends()
        changes = await place.changes()
        player = await Player.start(site.deps.log)
        await changes.until("job", id=player.job_id)


async def test_while_redis_is_away_the_status_says_so_and_the_stream_ends_when_it_is_back(
    redis_server: RedisServer,
) -> None:
    port = free_port()
    async with watched(short_settings(f"redis://127.0.0.1:{port}/0", redis_timeout=0.3)) as place:
        site = place.site
        changes = await place.changes()
        assert changes.of("status")[0]["findings"][0]["code"] == "redis_away"
        with RedisServer.start(port=port):
            await changes.ends()
            changes = await place.changes()
            player = await Player.start(site.deps.log)
            await changes.until("job", id=player.job_id)
            changes.close()


async def test_a_process_that_stops_ends_the_streams(settings: Settings) -> None:
    async with watched(settings) as place:
        site = place.site
        changes = await place.changes()
        await site.hub.close()
        await changes.ends()


async def test_what_a_person_publishes_there_hurts_no_stream(
    settings: Settings, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does a job whose hash says that it is another."""
    async with watched(settings) as place:
        site = place.site
        changes = await place.changes()
        other = submission(new_job_id())
        await log.submit(other)
        await site.deps.redis.command("HSET", settings.keys.job(other.job_id), "id", new_job_id())
        odd = (
            b"",
            b"\xff",
            b"[]",
            b"7",
            b"{}",
            b'{"id":7,"type":[]}',
            b'{"id":{},"type":"done"}',
            b'{"id":"x","type":"done"}',
        )
        erased = (b"{}", b'{"schema":"9"}', b'{"id":7}', b"[]", b'{"schema":"x"}', b'"x"')
        for message in (
            *odd,
            b'{"id":"x","type":"done"}',
            *(b'{"id":"a","type":"erased","job":%b}' % job for job in erased),
            b'{"id":"%b","type":"started"}' % other.job_id.encode(),
        ):
            await site.deps.redis.command("PUBLISH", settings.keys.changes, message)
        player = await Player.start(log)
        await changes.until("job", id=player.job_id)
        assert "Traceback" not in caplog.text


async def test_the_erase_of_a_broken_job_ends_no_stream(settings: Settings, log: Log) -> None:
    async with watched(settings) as place:
        site = place.site
        changes = await place.changes()
        for field, value in (("metadata", b"\xff\xfe"), ("created_at", b"x"), ("schema", b"\xff"), ("metadata", b"[]")):
            new = submission(new_job_id())
            await log.submit(new)
            await site.deps.redis.command("HSET", settings.keys.job(new.job_id), field, value)
            await log.delete(new.job_id)
        player = await Player.start(log)
        await changes.until("job", id=player.job_id)


async def test_a_client_that_does_not_read_is_left_behind_and_not_waited_for(
    settings: Settings, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory is bounded: it begins anew, and others do not notice."""
    monkeypatch.setattr("readalong.api.fanout.change_stream._MOST_BYTES", 400_000)
    async with watched(settings) as place:
        slow = await place.stream("/v1/changes", receive_buffer=4096)
        other = await place.changes()
        padded = orjson.dumps({"pad": "x" * 5000})
        for _ in range(60):  # more than the buffers of both ends
            ids = [new_job_id() for _ in range(20)]
            for job_id in ids:
                await log.submit(submission(job_id, metadata=padded))
            await other.until("job", id=ids[-1])
            other.seen.clear()
        player = await Player.start(log)
        await other.until("job", id=player.job_id)
        left = await slow.rest()
        assert player.job_id.encode() not in b"".join(message.data for message in left)


async def test_an_http_1_0_client_such_as_a_proxy_reads_the_bare_bytes(settings: Settings) -> None:
    async with watched(settings) as place:
        stream = await place.stream("/v1/changes", version="1.0")
        assert "transfer-encoding" not in stream.headers
        async with asyncio.timeout(WITHIN):
            seen = await stream.reader.readuntil(b"event: status\ndata: ")
            assert seen.startswith(b"retry: 1000\n\n")
            status = orjson.loads(await stream.reader.readline())
        assert status["redis"]["state"] == "ok"


async def test_on_another_server_the_stream_goes_by_asgi(settings: Settings) -> None:
    """An application that is mounted elsewhere has no connection of ours to take over."""
    app = create_app(settings)
    async with running(app):
        sent: asyncio.Queue[Any] = asyncio.Queue()
        gone = asyncio.Event()

        async def receive() -> Any:
            await gone.wait()
            return {"type": "http.disconnect"}

        scope = {"type": "http", "method": "GET", "path": "/v1/changes", "query_string": b"", "headers": []}
        serving = asyncio.create_task(app({**scope, "http_version": "1.1", "app": app}, receive, sent.put))
        async with asyncio.timeout(WITHIN):
            assert (await sent.get())["status"] == 200
            assert (await sent.get())["body"] == b"retry: 1000\n\n"
            assert (await sent.get())["body"].startswith(b"event: status\n")
            gone.set()
            await serving
        assert len(app.state.dependencies.changes) == 0
