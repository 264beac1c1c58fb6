"""Requests as browsers, proxies and clients send them: each is understood, or refused with the name of its fault."""

from __future__ import annotations

import gzip
import re
import zlib
from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis

from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Player
from tests.api.routes.test_submit import job, problem
from tests.api.serving import Site, a_site, on_valkey, short_settings
from tests.readalong.helpers import command

pytestmark = on_valkey

BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
RAW = orjson.dumps(BODY)

#: The content type, the Origin, and the expected status.
TYPES: list[tuple[str | None, str | None, int]] = [
    ("application/json", None, 202),
    ("application/json", "ours", 202),
    ("Application/JSON; charset=utf-8", "ours", 202),
    ("application/vnd.api+json", "ours", 202),
    (None, None, 202),
    ("", None, 202),
    (None, "ours", 415),
    ("text/plain", None, 415),
    ("text/plain", "ours", 415),
    ("text/plain; application/json", "ours", 415),
    ("application/x-www-form-urlencoded", None, 415),
    ("multipart/form-data; boundary=x", None, 415),
    ("application/jsonp", None, 415),
]


async def post(site: Site, path: str, raw: bytes, **headers: str | None) -> Any:
    """Sends a POST with these bytes and only these headers."""
    given = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
    async with site.http.stream("POST", path, content=raw, headers=given) as answer:
        if answer.headers["content-type"].startswith("application/"):
            await answer.aread()
        return answer


@pytest.mark.parametrize("path", ["/v1/jobs", "/chat/stream"])
async def test_a_body_is_json_by_its_type(settings: Settings, path: str) -> None:
    """Otherwise any site could make a visitor's browser post a form or plain text, and spend the model's key."""
    async with a_site(settings) as site:
        for kind, origin, status in TYPES:
            ours = None if origin is None else f"http://127.0.0.1:{site.port}"
            answer = await post(site, path, RAW, content_type=kind, origin=ours)
            if status == 415:
                assert answer.status_code == 415, (kind, origin)
                problem(answer, 415, "unsupported_media_type")
            else:
                assert answer.status_code in (200, 202), (kind, origin, answer.text)


#: Further headers, and whether a page of `Origin` may post.
ORIGINS: list[tuple[dict[str, str], bool]] = [
    ({}, True),
    ({"Origin": "http://here.example:8000", "Host": "here.example:8000"}, True),
    ({"Origin": "https://here.example", "Host": "here.example:443"}, True),
    ({"Origin": "https://HERE.example", "Host": "here.example"}, True),
    ({"Origin": "https://here.example", "Host": "upstream:8000", "Sec-Fetch-Site": "same-origin"}, True),
    ({"Origin": "https://friend.example"}, True),
    ({"Origin": "https://friend.example", "Sec-Fetch-Site": "cross-site"}, True),
    ({"Origin": "https://friend.example:444"}, False),
    ({"Origin": "http://friend.example"}, False),
    ({"Origin": "https://evil.example"}, False),
    ({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, False),
    ({"Origin": "https://sub.here.example", "Host": "here.example", "Sec-Fetch-Site": "same-site"}, False),
    ({"Origin": "http://here.example:8001", "Host": "here.example:8000"}, False),
    ({"Origin": "null"}, False),
    ({"Origin": ""}, False),
    ({"Origin": "http://here.example:port", "Host": "here.example"}, False),
]


@pytest.mark.parametrize("call", ["submit", "chat", "cancel", "erase"])
async def test_a_foreign_page_can_do_nothing_unless_it_is_allowed(redis_url: str, log: Log, call: str) -> None:
    origins, hosts = "https://friend.example, https://other.example", "here.example, upstream"
    settings = short_settings(redis_url, origins=origins, hosts=hosts)
    player = await Player.start(log)
    await player.finish()
    path, method = {
        "submit": ("/v1/jobs", "POST"),
        "chat": ("/chat/stream", "POST"),
        "cancel": (f"/v1/jobs/{player.job_id}/cancel", "POST"),
        "erase": (f"/v1/jobs/{player.job_id}", "DELETE"),
    }[call]
    async with a_site(settings) as site:
        for headers, allowed in ORIGINS:
            sent = {"Content-Type": "application/json", **headers}
            body = RAW if method == "POST" else b""
            async with site.http.stream(method, path, content=body, headers=sent) as answer:
                assert (answer.status_code != 403) == allowed, headers
                if not allowed:
                    await answer.aread()
                    problem(answer, 403, "forbidden_origin")
                assert "text/plain" not in answer.headers.get("content-type", "")


async def test_an_allowed_page_may_ask_read_and_watch_and_another_may_not_read(redis_url: str, log: Log) -> None:
    """The preflight request, the headers that the page may read, and a stream that works as usual."""
    player = await Player.start(log)
    path = f"/v1/jobs/{player.job_id}/events"
    async with a_site(short_settings(redis_url, origins="https://friend.example")) as site:
        asks = {
            "Origin": "https://friend.example",
            "Access-Control-Request-Method": "DELETE",
            "Access-Control-Request-Headers": "authorization,content-type,idempotency-key,last-event-id,"
            "openai-organization,user-agent,x-stainless-arch,x-stainless-retry-count,x-stainless-timeout",
        }
        answer = await site.http.options("/v1/jobs", headers=asks)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://friend.example")
        assert (await site.http.options("/v1/jobs", headers={**asks, "Origin": "https://evil.example"})).is_error
        answer = await site.http.post("/v1/jobs", json={}, headers={"Origin": "https://friend.example"})
        assert answer.status_code == 422
        assert answer.headers["access-control-allow-origin"] == "https://friend.example"
        for origin in ("https://friend.example", "https://evil.example"):
            async with await site.open(path, headers=[f"Origin: {origin}"]) as stream:
                assert stream.headers.get("access-control-allow-origin") == (
                    "https://friend.example" if "fr" in origin else None
                )
                await stream.some(2)
                connections = site.server.server_state
                assert not connections.tasks, "the stream costs no task: it has its connection to itself"


async def test_without_the_setting_no_page_of_another_site_is_allowed_anything(settings: Settings) -> None:
    async with a_site(settings) as site:
        answer = await site.http.get("/v1/jobs", headers={"Origin": "https://friend.example"})
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert (await site.http.options("/v1/jobs", headers={"Origin": "https://friend.example"})).status_code == 405


def packed(raw: bytes) -> bytes:
    return gzip.compress(raw)


#: Content-Encoding, the body, and the expected status.
def encodings() -> dict[str, tuple[str, bytes, int, str]]:
    """A function, because otherwise each process that collects tests would pack the bomb."""
    return {
        "gzip": ("gzip", packed(RAW), 202, ""),
        "the old name": ("X-GZIP", packed(RAW), 202, ""),
        "two members": ("gzip", packed(RAW[:10]) + packed(RAW[10:]), 202, ""),
        "none by name": ("identity", RAW, 202, ""),
        "deflate": ("deflate", zlib.compress(RAW), 415, "unsupported_encoding"),
        "br": ("br", b"\x0b\x02\x80{}\x03", 415, "unsupported_encoding"),
        "twice": ("gzip, gzip", packed(packed(RAW)), 415, "unsupported_encoding"),
        "not gzip": ("gzip", RAW, 400, "invalid_encoding"),
        "cut gzip": ("gzip", packed(RAW)[:-3], 400, "invalid_encoding"),
        "nothing": ("gzip", b"", 400, "invalid_encoding"),
        "rubbish behind it": ("gzip", packed(RAW) + b"more", 400, "invalid_encoding"),
        "a bomb": ("gzip", packed(b" " * 60_000_000 + RAW), 413, "body_too_large"),
        "packed larger than the limit": ("gzip", packed(b"") * 2000, 413, "body_too_large"),
    }


async def test_a_gzip_body_is_read_within_the_limit_and_no_other_coding(redis_url: str) -> None:
    async with a_site(short_settings(redis_url, max_body_bytes=16_384)) as site:
        for name, (coding, raw, status, code) in encodings().items():
            answer = await site.http.post("/v1/jobs", content=raw, headers={"Content-Encoding": coding})
            assert answer.status_code == status, f"{name}: {answer.text}"
            if code:
                problem(answer, status, code)
            if status == 415:
                assert answer.headers["accept-encoding"] == "gzip"


async def test_integers_come_back_as_they_were_sent_or_are_refused_by_name(settings: Settings, redis: ArqRedis) -> None:
    """They are not rounded to floats. Two bodies that differ in one integer differ for an Idempotency-Key."""
    async with a_site(settings) as site:
        for value in (0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1):
            raw = b'{"messages":[{}],"seed":%d,"metadata":{"n":[%d]}}' % (value, value)
            shown = job(await site.http.post("/v1/jobs", content=raw))
            assert shown.metadata.root == {"n": [value]}
            stored = await command(redis, "HGET", settings.keys.job(shown.id), "request")
            assert stored == b'{"messages":[{}],"seed":%d}' % value
        for value in (2**64, -(2**63) - 1, 10**400):
            for name, raw in (
                ("seed", b'{"messages":[{}],"seed":%d}'),
                ("metadata.n.0", b'{"messages":[{}],"metadata":{"n":[%d]}}'),
            ):
                answer = await site.http.post("/v1/jobs", content=raw % value)
                assert answer.status_code == (422 if value < 10**300 else 400)
                if answer.status_code == 422:
                    problem(answer, 422, "invalid_request", name)
        key = {"Idempotency-Key": "k"}
        first = await site.http.post("/v1/jobs", content=b'{"messages":[{}],"seed":18446744073709551614}', headers=key)
        other = await site.http.post("/v1/jobs", content=b'{"messages":[{}],"seed":18446744073709551615}', headers=key)
        job(first)
        problem(other, 409, "idempotency_conflict")


@pytest.mark.slow
async def test_a_picture_of_20_mb_fits_into_the_default_limit(settings: Settings, redis: ArqRedis) -> None:
    """A data URL holds it as base64, which is a third longer."""
    picture = "data:image/png;base64," + "AbC/" * (20 * 1024 * 1024 // 3)
    part = {"type": "image_url", "image_url": {"url": picture}}
    raw = orjson.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]})
    async with a_site(settings) as site:
        shown = job(await site.http.post("/v1/jobs", content=raw))
        assert await command(redis, "HGET", settings.keys.job(shown.id), "request") == raw


#: Every path that has a GET.
GETS = [
    "/",
    "/docs",
    "/openapi.json",
    "/page/main.js",
    "/healthz",
    "/readyz",
    "/v1/jobs",
    "/v1/jobs/{id}",
    "/v1/chat/completions",
    "/v1/chat/completions/chatcmpl-{id}",
    "/v1/chat/completions/chatcmpl-{id}/messages",
    "/v1/models",
    "/v1/models/gpt-5-mini",
    "/v1/threads/none",
    "/v1/threads/none/jobs",
    "/v1/conversations/none",
    "/v1/conversations/none/items",
    "/v1/jobs/no-such-job-here-x",
]


async def test_head_is_answered_wherever_get_is(settings: Settings, log: Log) -> None:
    """HEAD returns status and headers of GET, without a body."""
    player = await Player.start(log)
    async with a_site(settings) as site:
        described = (await site.http.get("/openapi.json")).json()["paths"]
        gets = [
            re.sub(r"\{\w+\}", "none", path)
            for path, methods in described.items()
            if "get" in methods and not path.endswith(("/events", "/running", "/changes"))
        ]
        for path in (*GETS, *gets):
            asked = path.replace("{id}", player.job_id)
            full, head = await site.http.get(asked), await site.http.head(asked)
            assert (head.status_code, head.content) == (full.status_code, b""), path
            lengths = [answer.headers.get("content-length") for answer in (head, full)]
            if path in ("/v1/status", "/readyz"):  # their numbers change from one request to the next
                assert None not in lengths
            else:
                assert lengths[0] == lengths[1], path
        assert (await site.http.head("/chat/stream")).status_code == 405
