"""`/v1/jobs/{id}/stream`, as clients of Durable Streams read it."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.api.fanout.feed import Feed
from readalong.api.routes import durable_stream as route
from readalong.api.wire import durable_stream as wire
from readalong.core.errors import JobNotFound
from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.forgetful import Worker, attempt
from tests.api.helpers import Player
from tests.api.serving import Site, a_site, on_valkey
from tests.support.waiting import WITHIN, until

pytestmark = on_valkey

NEXT = "stream-next-offset"


async def get(site: Site, job_id: str, **headers: str) -> Any:
    return await site.http.get(f"/v1/jobs/{job_id}/stream", headers=headers)


async def read(site: Site, job_id: str, offset: str, **query: str) -> Any:
    return await site.http.get(f"/v1/jobs/{job_id}/stream", params={"offset": offset, **query})


def events_of(body: bytes) -> list[tuple[str, Any]]:
    """The events of a stream: their names and data."""
    found = []
    for frame in body.decode().split("\n\n"):
        if frame.startswith("event: "):
            name, _, data = frame.partition("\ndata:")
            found.append((name.removeprefix("event: "), orjson.loads(data)))
    return found


async def test_pages_join_to_the_log_whatever_their_size(
    settings: Settings, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each message is an event as it was appended, though the log is stored merged after the end. A page has a bound in
    bytes. Offsets sort as text, and the last page alone says that it is."""
    async with a_site(settings) as site:
        player = await Player.start(log)
        await player.say(30)
        await player.append(NewEvent("reasoning", {"content": "x" * 5000}))
        live = (await get(site, player.job_id)).json()
        await player.finish()
        whole = await get(site, player.job_id)
        messages = whole.json()
        assert messages[:-1] == live
        assert [each["id"] for each in messages] == list(range(1, player.last + 1))
        assert (messages[0]["type"], messages[2]["content"], messages[-1]["type"]) == ("queued", "3 ", "done")
        monkeypatch.setattr(route, "_PAGE_BYTES", 600)
        pages, offset, closed = [], "-1", False
        while not closed:
            page = await read(site, player.job_id, offset)
            assert page.status_code == 200
            assert page.headers["content-type"] == "application/json"
            assert len(page.content) < 600 + 5100
            pages += page.json()
            closed = "stream-closed" in page.headers
            assert ("stream-up-to-date" in page.headers) is closed
            assert offset == "-1" or offset < page.headers[NEXT]
            offset = page.headers[NEXT]
        assert pages == messages
        end = await read(site, player.job_id, offset)
        assert (end.status_code, end.json(), end.headers["stream-closed"]) == (200, [], "true")
        head = await site.http.head(f"/v1/jobs/{player.job_id}/stream")
        assert (head.headers[NEXT], head.headers["stream-closed"]) == (offset, "true")
        assert head.headers["cache-control"] == "no-store"
        assert head.headers["stream-expires-at"] > "20"


async def test_a_page_has_a_tag_that_changes_when_the_stream_closes(settings: Settings, log: Log) -> None:
    """Caches ask each time: a job can be erased, and a policy can change its mind."""
    async with a_site(settings) as site:
        player = await Player.start(log)
        page = await get(site, player.job_id)
        assert page.headers["cache-control"] == "private, no-cache"
        assert page.headers["x-content-type-options"] == "nosniff"
        tag = page.headers["etag"]
        for given in (tag, f'"x", W/{tag}', "*"):
            same = await get(site, player.job_id, **{"if-none-match": given})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
        tail = await read(site, player.job_id, page.headers[NEXT])
        await player.finish()
        assert (await get(site, player.job_id, **{"if-none-match": tag})).status_code == 200
        end = await read(site, player.job_id, page.headers[NEXT])
        assert end.headers["etag"] != tail.headers["etag"]
        now = await read(site, player.job_id, "now")
        assert (now.json(), now.headers["cache-control"], "etag" in now.headers) == ([], "no-store", False)
        assert (now.headers[NEXT], now.headers["stream-closed"]) == (end.headers[NEXT], "true")


async def waits(site: Site, job_id: str) -> None:
    """Returns when a client of the job waits in the API."""

    async def there() -> bool:
        try:
            feed: Feed = await site.hub.feed(job_id, 0)
        except JobNotFound:
            return False
        return len(feed.watchers) > 0

    await until(there, "a client that waits")


async def test_a_long_poll_waits_for_what_follows(
    settings: Settings, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_site(settings) as site, asyncio.timeout(WITHIN):
        player = await Player.start(log)
        tail = (await get(site, player.job_id)).headers[NEXT]
        for offset in (tail, "now"):
            poll = asyncio.create_task(read(site, player.job_id, offset, live="long-poll"))
            await waits(site, player.job_id)
            await player.say()
            answer = await poll
            assert (answer.status_code, [each["id"] for each in answer.json()]) == (200, [player.last])
            assert "etag" in answer.headers
        cursor = answer.headers["stream-cursor"]
        monkeypatch.setattr(route, "_WAIT", 0.01)
        late = await read(site, player.job_id, "now", live="long-poll", cursor=cursor)
        assert (late.status_code, late.content, late.headers["stream-up-to-date"]) == (204, b"", "true")
        assert late.headers[NEXT] == answer.headers[NEXT]
        assert int(late.headers["stream-cursor"]) > int(cursor)
        monkeypatch.setattr(route, "_WAIT", 2 * WITHIN)
        poll = asyncio.create_task(read(site, player.job_id, "now", live="long-poll"))
        await waits(site, player.job_id)
        await site.http.delete(f"/v1/jobs/{player.job_id}")
        assert (await poll).status_code == 404
        ended = await Player.start(log)
        await ended.finish()
        end = await read(site, ended.job_id, "now", live="long-poll")
        assert (end.status_code, end.headers["stream-closed"], "stream-cursor" in end.headers) == (204, "true", False)


async def test_a_stream_tells_offsets_with_which_it_goes_on(
    settings: Settings, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From each of them, live or not, the same messages follow. It ends after a while, so that caches join clients."""
    async with a_site(settings) as site:
        player = await Player.start(log)
        await player.say(2)
        path = f"/v1/jobs/{player.job_id}/stream?live=sse&offset="
        async with await site.open(f"{path}-1&cursor=99999999") as live, await site.open(f"{path}now") as tail:
            assert live.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert live.headers["x-content-type-options"] == "nosniff"
            await live.some(8)
            first = await tail.some(1)
            assert orjson.loads(first[0].data)["upToDate"] is True
            await player.append(NewEvent("tool_call", {"id": "c", "arguments": {"streamNextOffset": "x"}}))
            await player.finish()
            await live.rest()
            await tail.rest()
        seen = events_of(bytes(live.body))
        said = [message for name, data in seen if name == "data" for message in data]
        assert said == (await get(site, player.job_id)).json()
        assert (said[-2]["id"], said[-2]["call_id"]) == (said[-1]["id"] - 1, "c")
        controls = [data for name, data in seen if name == "control"]
        assert len(controls) == len(said)
        assert [each["streamNextOffset"] for each in controls] == sorted(each["streamNextOffset"] for each in controls)
        assert all(int(each["streamCursor"]) > 99999999 for each in controls[:-1])
        assert controls[3]["upToDate"] is True
        assert controls[-1] == {"streamNextOffset": controls[-1]["streamNextOffset"], "streamClosed": True}
        assert [data[0] for name, data in events_of(bytes(tail.body)) if name == "data"] == said[-2:]
        for number, each in enumerate(controls, 1):
            rest = await read(site, player.job_id, each["streamNextOffset"])
            assert rest.json() == said[number:]
        ended = await site.http.get(f"{path}{controls[-1]['streamNextOffset']}")
        [(_, closing)] = events_of(ended.content)
        assert (closing["streamClosed"], closing["upToDate"]) == (True, True)
        monkeypatch.setattr(wire, "LIFE", 0.0)
        running = await Player.start(log)
        async with await site.open(f"/v1/jobs/{running.job_id}/stream?live=sse&offset=-1") as short:
            await short.rest()
        assert events_of(bytes(short.body))[-1][0] == "control"


async def test_an_offset_that_redis_has_lost_is_gone(settings: Settings, log: Log, redis: ArqRedis) -> None:
    """Its client reads the stream from the start; another log's numbers would give it a mixture."""
    async with a_site(settings) as site:
        job_id, forgetful, _ = await attempt(log, redis, settings, kept=1, lost=3)
        offset = (await get(site, job_id)).headers[NEXT]
        async with await site.open(f"/v1/jobs/{job_id}/stream?live=sse&offset={offset}") as live:
            await live.some(1)
            await forgetful.forget()
            await (await Worker.claims(log, job_id, "bbb")).say(9)
            await live.rest()
            assert [name for name, _ in events_of(bytes(live.body))] == ["control"]
        for more in ({}, {"live": "long-poll"}, {"live": "sse"}):
            answer = await read(site, job_id, offset, **more)
            assert (answer.status_code, answer.json()["code"]) == (410, "offset_gone"), more


async def test_what_is_wrong_is_refused(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site:
        job_id = (await Player.start(log)).job_id
        for query in (
            *("offset=", "offset=1", "offset=-2", "offset=a,b", "offset=0000000000000001-", "offset=-1&offset=now"),
            *("live=sse", "live=long-poll", "offset=-1&live=true", "offset=-1&live=sse&live=sse"),
            f"offset={'9' * 400}",
        ):
            answer = await site.http.get(f"/v1/jobs/{job_id}/stream?{query}")
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_position"), query
        for unknown in ("x", "A" * 22):
            assert (await site.http.get(f"/v1/jobs/{unknown}/stream")).status_code == 404
            assert (await site.http.head(f"/v1/jobs/{unknown}/stream")).status_code == 404
        for method in ("PUT", "POST", "DELETE"):
            answer = await site.http.request(method, f"/v1/jobs/{job_id}/stream")
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
