"""`/api/chat`, as the AI SDK's transports call it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from starlette.datastructures import Headers

from readalong.api.auth.policy import AllowAll, Unauthorized
from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.core.states import Status
from readalong.store.log import Log
from readalong.store.threads import ThreadRef
from tests.api.helpers import Player
from tests.api.serving import Site, Stream, a_site, on_valkey, short_settings

pytestmark = on_valkey

ID = "a chat?"
DONE = b"data: [DONE]\n\n"


def user(text: str = "hi") -> dict[str, Any]:
    return {"id": "u", "role": "user", "parts": [{"type": "text", "text": text}]}


BODY: dict[str, Any] = {"id": ID, "messages": [user()], "trigger": "submit-message"}
RAW = orjson.dumps(BODY)


async def post(site: Site, body: dict[str, Any] | None = None, *headers: str) -> Stream:
    raw = RAW if body is None else orjson.dumps(body)
    stream = await site.open("/api/chat", method="POST", body=raw, headers=["Content-Type: application/json", *headers])
    assert stream.status == 200, stream.head
    return stream


def path(name: str, what: str = "stream") -> str:
    return f"/api/chat/{quote(name, safe='')}/{what}"


async def whole(site: Site, path: str) -> bytes:
    """The body of a stream that ends."""
    async with await site.open(path) as stream:
        assert stream.status == 200, stream.head
        await stream.rest()
        return bytes(stream.body)


async def test_a_chat_is_streamed_and_resumed_with_the_same_bytes(settings: Settings, log: Log) -> None:
    """By the chat's id, encoded or not, while the answer runs; then nothing runs."""
    async with a_site(settings) as site, await post(site) as stream:
        job_id = stream.headers["x-workflow-run-id"]
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["x-vercel-ai-ui-message-stream"] == "v1"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["location"] == f"/v1/jobs/{job_id}"
        player = await Player.start(log, job_id)
        await player.say(3)
        async with await site.open(path(ID)) as resumed, await site.open(path(job_id)) as by_job:
            assert resumed.headers["x-workflow-run-id"] == job_id
            head = await site.http.head(path(ID))
            assert (head.status_code, head.headers["x-workflow-run-id"]) == (200, job_id)
            await player.finish(finish_reason="stop")
            for each in (stream, resumed, by_job):
                await each.rest()
            assert stream.body == resumed.body == by_job.body
        assert stream.body.startswith(b'data: {"type":"start","messageId":"msg_%s"' % job_id.encode())
        assert stream.body.endswith(DONE)
        async with await site.open(path(job_id)) as ended:
            await ended.rest()
            assert ended.body == stream.body
        for name in (ID, "another", "x" * 300):
            assert (await site.http.get(path(name))).status_code == 204


async def test_from_any_chunk_on_also_when_the_job_has_ended(settings: Settings, log: Log) -> None:
    """The rest, and never nothing: a WorkflowChatTransport would ask again at once."""
    async with a_site(settings) as site, await post(site) as stream:
        job_id = stream.headers["x-workflow-run-id"]
        player = await Player.start(log, job_id)
        await player.say(3)
        async with (
            await site.open(f"{path(ID)}?startIndex=4") as live,
            await site.open(f"{path(ID)}?startIndex=-1") as tail,
        ):
            # start, start-step, text-start, three deltas: the newest is number 5, and its part begins at number 2.
            assert tail.headers["x-workflow-stream-tail-index"] == "2"
            await player.finish(finish_reason="stop")
            for each in (stream, live, tail):
                await each.rest()
        frames = bytes(stream.body).split(b"\n\n")[:-2]
        rest = {number: b"\n\n".join([*frames[number:], DONE]) for number in range(len(frames))}
        assert (bytes(live.body), bytes(tail.body)) == (rest[4], rest[2])
        # The answer has ended before a page that knows the chat's id alone has come back.
        async with await site.open(f"{path(ID)}?startIndex=4") as late:
            await late.rest()
        assert bytes(late.body) == rest[4]
        for index, number, newest in [
            (0, 0, None),
            (5, 5, None),
            (len(frames) - 1, len(frames) - 1, None),
            (len(frames), len(frames) - 1, None),
            (10**9, len(frames) - 1, None),
            (-2, len(frames) - 2, len(frames) - 1),
            (-1000, 0, len(frames) - 1),
        ]:
            async with await site.open(f"{path(job_id)}?startIndex={index}") as again:
                await again.rest()
                assert again.body == rest[number], index
                assert again.headers.get("x-workflow-stream-tail-index") == (None if newest is None else str(newest))


async def test_a_workflow_transport_is_told_that_nothing_runs_by_a_finish(settings: Settings) -> None:
    """A 204 is an error to it. A client that has got chunks of an answer that is gone gets an error."""
    async with a_site(settings) as site:
        for index in (0, -10):
            answer = await site.http.get(f"{path('nobody')}?startIndex={index}")
            assert (answer.status_code, answer.content) == (200, b'data: {"type":"finish"}\n\n' + DONE)
            assert answer.headers["content-type"].startswith("text/event-stream")
        gone = await site.http.get(f"{path('nobody')}?startIndex=7")
        assert (gone.status_code, gone.text) == (404, "This answer does not exist any more.")
        assert gone.headers["content-type"].startswith("text/plain")


async def test_a_stop_cancels_the_answer_that_is_meant(settings: Settings, log: Log) -> None:
    """By the chat's id or the job's, with or without a body; one that comes late for another answer does nothing."""
    async with a_site(settings) as site:
        for by_job, body, ends in [
            (False, b'{"activeStreamId":"another"}', False),
            (False, b"", True),
            (False, b"{}", True),
            (True, b'{"assistantMessage":{"id":"m"},"activeStreamId":null}', True),
        ]:
            async with await post(site) as stream:
                job_id = stream.headers["x-workflow-run-id"]
                for sent in [body, orjson.dumps({"activeStreamId": f"msg_{job_id}"})]:
                    answer = await site.http.post(path(job_id if by_job else ID, "stop"), content=sent)
                    assert (answer.status_code, answer.json()) == (200, {"success": True})
                    record = await log.record(job_id)
                    assert record is not None
                    assert record.ended is (ends or sent is not body)
                await stream.rest()
                assert b'{"type":"abort","reason":"Cancelled by client."}\n\ndata: {"type":"finish"' in stream.body


async def test_a_second_message_takes_the_place_of_an_answer_unless_the_chat_says_otherwise(
    settings: Settings, log: Log
) -> None:
    """A page that stopped its answer has only closed its connection."""
    async with a_site(settings) as site, await post(site) as first:
        refused = await site.http.post("/api/chat", json={**BODY, "readalong": {"thread_policy": "reject"}})
        assert refused.status_code == 409
        assert refused.headers["content-type"].startswith("text/plain")
        async with await post(site) as second:
            await first.rest()
            assert b'{"type":"abort"' in first.body
            assert first.body.endswith(DONE)
            # An answer that runs ends when its worker has seen the cancel; a page that is loaded anew wants the newer.
            player = await Player.start(log, second.headers["x-workflow-run-id"])
            async with await post(site) as third, await site.open(path(ID)) as resumed:
                assert resumed.headers["x-workflow-run-id"] == third.headers["x-workflow-run-id"]
                await player.finish("cancelled", by="thread")
                await site.deps.turns.settle(player.job_id)
            queued = await post(site, {**BODY, "readalong": {"thread_policy": "enqueue"}})
            async with queued, await site.open(path(ID)) as resumed:
                assert resumed.headers["x-workflow-run-id"] == third.headers["x-workflow-run-id"]


async def test_a_chat_is_the_thread_of_its_id(redis_url: str, log: Log) -> None:
    """With whole messages the newest request's come in place of the thread's, also for its limits. Those of a failed
    request do not."""
    ref, long = ThreadRef.of(ID, {}), "x" * 700
    async with a_site(short_settings(redis_url, max_thread_bytes=1024)) as site:
        for texts, end, kept in [
            (["a"], "done", ["a"]),
            (["a", long], "done", ["a", long]),
            (["b", long], "done", ["b", long]),
            (["c"], "failed", ["b", long]),
        ]:
            async with await post(site, {**BODY, "messages": [user(text) for text in texts]}) as stream:
                player = await Player.start(log, stream.headers["x-workflow-run-id"])
                error = {"error": {"code": "model_cut", "message": "m", "retryable": True}} if end == "failed" else {}
                await player.finish(end, **error)
                await site.deps.turns.settle(player.job_id)
            entries = await site.deps.threads.entries(ref)
            assert [entry.message and entry.message["content"] for entry in entries] == kept
        more = await site.http.post("/api/chat", json={"id": ID, "message": user(long)})
        assert (more.status_code, more.text) == (422, "The thread's entries would have more than 1,024 bytes.")


class TwoOwners(AllowAll):
    """Owners by a header."""

    async def submit(self, headers: Headers) -> dict[str, str]:
        return {"owner": headers["x-owner"]}


async def test_another_owners_chat_of_the_same_id_is_another_chat(settings: Settings, log: Log) -> None:
    async with a_site(settings, TwoOwners()) as site, await post(site, None, "X-Owner: ada") as stream:
        job_id = stream.headers["x-workflow-run-id"]
        bob, ada = {"x-owner": "bob"}, {"x-owner": "ada"}
        assert (await site.http.get(path(ID), headers=bob)).status_code == 204
        await site.http.post(path(ID, "stop"), headers=bob)
        record = await log.record(job_id)
        assert record is not None
        assert record.status is Status.QUEUED
        assert (await site.http.head(path(ID), headers=ada)).headers["x-workflow-run-id"] == job_id


class NoOne(AllowAll):
    """Lets no one in."""

    async def submit(self, headers: Headers) -> dict[str, str]:
        raise Unauthorized


async def test_each_call_asks_the_policy_before_it_reads_a_body(settings: Settings) -> None:
    async with a_site(settings, NoOne()) as site:
        for method, asked in [("POST", "/api/chat"), ("GET", path(ID)), ("HEAD", path(ID)), ("POST", path(ID, "stop"))]:
            answer = await site.http.request(method, asked, content=b"{" if method == "POST" else b"")
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (method, asked)
            assert answer.text == ("" if method == "HEAD" else "Credentials required.")


async def test_a_method_that_there_is_not_is_a_405_in_a_sentence(settings: Settings) -> None:
    async with a_site(settings) as site:
        for method, asked, allowed in [
            ("GET", "/api/chat", "POST"),
            ("POST", path(ID), "GET, HEAD"),
            ("GET", path(ID, "stop"), "POST"),
        ]:
            answer = await site.http.request(method, asked)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
            assert answer.headers["content-type"].startswith("text/plain")


def said_by(role: str, *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "parts": list(parts)}], **more}


BAD: dict[str, tuple[Any, int]] = {
    "messages": ({}, 422),
    "messages.0": ({"messages": ["hi"]}, 422),
    "messages.0.role": (said_by("tool"), 422),
    "messages.0.id": ({"messages": [{"id": 1, "role": "user", "parts": []}]}, 422),
    "messages.0.parts": ({"messages": [{"role": "user", "content": "hi"}]}, 422),
    "messages.0.parts.0": (said_by("user", {}), 422),
    "messages.0.parts.0.text": (said_by("user", {"type": "text"}), 422),
    "messages.0.parts.0.mediaType": (said_by("user", {"type": "file", "mediaType": "video/mp4", "url": "x"}), 422),
    "messages.0.parts.0.url": (said_by("user", {"type": "file", "mediaType": "audio/wav", "url": "https://x"}), 422),
    "messages.0.parts.0.toolCallId": (
        said_by("assistant", {"type": "tool-f", "state": "output-available", "output": 1}),
        422,
    ),
    "id": ({**BODY, "id": 7}, 422),
    "trigger": ({**BODY, "trigger": "resume-stream"}, 422),
    "message": ({**BODY, "message": user()}, 422),
    "n": ({**BODY, "n": 2}, 422),
    "functions": ({**BODY, "functions": []}, 422),
    "system": ({**BODY, "system": 1}, 422),
    "metadata": ({**BODY, "metadata": 1}, 422),
    "readalong": ({**BODY, "readalong": []}, 422),
    "readalong.deadlines": ({**BODY, "readalong": {"deadlines": 1}}, 422),
    "readalong.thread_policy": ({**BODY, "readalong": {"thread_policy": ["x"]}}, 422),
    "deadline": ({**BODY, "readalong": {"deadline": -1}}, 422),
    "api_key": ({**BODY, "api_key": "x"}, 422),
    "temperature": ({**BODY, "temperature": 2**70}, 422),
    "messages.0.parts.0.output": (
        said_by("assistant", {"type": "tool-f", "toolCallId": "c", "state": "output-available", "output": 2**70}),
        422,
    ),
    "The body": ([], 422),
    "The body is not valid JSON": (b"{", 400),
}


@pytest.mark.parametrize("start", BAD)
async def test_a_wrong_body_is_refused_in_a_sentence_that_names_the_field(settings: Settings, start: str) -> None:
    body, status = BAD[start]
    async with a_site(settings) as site:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()  # orjson writes no large integer
        answer = await site.http.post("/api/chat", content=raw)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/plain; charset=utf-8")
        assert answer.text.startswith(start), answer.text
        assert len(answer.text) < 300


@pytest.mark.parametrize(
    "query", ["startIndex=x", "startIndex=", "startIndex=1.5", f"startIndex={'9' * 13}", "reset=no"]
)
async def test_a_wrong_parameter_is_refused(settings: Settings, query: str) -> None:
    async with a_site(settings) as site:
        answer = await site.http.get(f"{path(ID)}?{query}")
        assert answer.status_code in (400, 422)
        assert answer.text.startswith(query.partition("=")[0])


async def test_a_body_of_text_is_read_unless_a_foreign_page_may_have_sent_it(redis_url: str) -> None:
    """A WorkflowChatTransport sets no type, so that `fetch` says text/plain. For such a body a browser does not
    ask first: its Origin decides, and without one what else the browser says of the page."""
    async with a_site(short_settings(redis_url, origins="https://friend.example")) as site:
        ours = f"http://127.0.0.1:{site.port}"
        for headers, status in [
            ({}, 200),
            ({"content-type": "text/plain;charset=UTF-8"}, 200),
            ({"content-type": "text/plain;charset=UTF-8", "origin": ours}, 200),
            ({"origin": ours}, 200),
            ({"content-type": "text/plain", "origin": "https://friend.example", "sec-fetch-site": "cross-site"}, 200),
            ({"content-type": "text/plain", "origin": "https://stranger.example"}, 403),
            ({"content-type": "text/plain", "origin": "null"}, 403),
            ({"content-type": "text/plain", "sec-fetch-site": "cross-site"}, 415),
            ({"content-type": "text/plain", "sec-fetch-site": "same-site"}, 415),
            ({"sec-fetch-site": "cross-site"}, 415),
            ({"content-type": "application/x-www-form-urlencoded"}, 415),
            ({"content-type": "multipart/form-data; boundary=x", "origin": ours}, 415),
        ]:
            async with site.http.stream("POST", "/api/chat", content=RAW, headers=headers) as answer:
                assert answer.status_code == status, headers
            answer = await site.http.post(path(ID, "stop"), content=b"{}", headers=headers)
            assert answer.status_code == status, headers


async def test_the_setting_says_how_a_lost_worker_is_told_and_a_request_says_otherwise(
    redis_url: str, log: Log
) -> None:
    """The client does not tell its version."""
    for setting, query, told in [
        ("reset-step", "", b'{"type":"reset-step"}'),
        ("data", "", b'{"type":"data-readalong"'),
        ("reset-step", "?reset=data", b'{"type":"data-readalong"'),
        ("data", "?reset=reset-step", b'{"type":"reset-step"}'),
    ]:
        async with a_site(short_settings(redis_url, ai_sdk_reset=setting)) as site, await post(site) as stream:
            player = await Player.start(log, stream.headers["x-workflow-run-id"])
            await player.append(NewEvent("content", {"content": "x"}))
            await player.claim("second")
            await player.finish(finish_reason="stop")
            assert told in await whole(site, f"{path(player.job_id)}{query or '?'}&startIndex=0")
            await site.deps.turns.settle(player.job_id)


async def test_pages_of_allowed_sites_may_read_the_headers(redis_url: str) -> None:
    """A WorkflowChatTransport reads the job's id from them."""
    async with a_site(short_settings(redis_url, origins="https://friend.example")) as site:
        answer = await site.http.get(path("nobody"), headers={"origin": "https://friend.example"})
        exposed = answer.headers["access-control-expose-headers"].lower()
        assert {"x-workflow-run-id", "x-workflow-stream-tail-index"} <= set(exposed.split(", "))
