"""Details of request heads, and of responses that no route gives."""

from __future__ import annotations

import pytest

from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Player
from tests.api.http.test_bad_clients import send
from tests.api.http.test_hostile_connections import answer_to
from tests.api.serving import a_site, on_valkey

pytestmark = on_valkey

BODY = b'{"messages":[{}]}'


def get(*lines: bytes, path: bytes = b"/healthz", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/" + version, *lines, b"Connection: close", b"", b""])


def post(*lines: bytes, body: bytes = b"Content-Length: 17\r\n\r\n" + BODY) -> bytes:
    return b"\r\n".join([b"POST /v1/jobs HTTP/1.1", b"Host: localhost", *lines, b"Connection: close", body])


CHUNKS = b"\r\n11\r\n" + BODY + b"\r\n0\r\n\r\n"
HEADS: dict[str, tuple[bytes, int]] = {
    "a Host": (get(b"Host: localhost"), 200),
    "no Host": (get(), 400),
    "no Host in HTTP/1.0": (get(version=b"1.0"), 200),
    "two Hosts": (get(b"Host: a", b"Host: b"), 400),
    "two Hosts in HTTP/1.0": (get(b"Host: a", b"Host: b", version=b"1.0"), 400),
    "chunks": (post(b"Transfer-Encoding: Chunked", body=CHUNKS), 202),
    "gzip in chunks": (post(b"Transfer-Encoding: gzip, chunked", body=CHUNKS), 501),
    "gzip and chunks": (post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked", body=CHUNKS), 501),
    "a key": (post(b"Idempotency-Key: k"), 202),
    "a key twice": (post(b"Idempotency-Key: k", b"Idempotency-Key: k"), 400),
    "two positions": (get(b"Host: localhost", b"Last-Event-ID: 1", b"Last-Event-ID: 2"), 400),
    "two types": (post(b"Content-Type: application/json", b"Content-Type: application/json"), 400),
    "a slash in a query": (get(b"Host: localhost", path=b"/healthz?a=%2F"), 200),
    "an escaped slash": (get(b"Host: localhost", path=b"/v1/jobs/abcdefghijklmnop%2fevents"), 400),
    "another escaped one": (get(b"Host: localhost", path=b"/v1%2Fjobs"), 400),
    "one before a model": (get(b"Host: localhost", path=b"/v1%2Fmodels/v1/models/m"), 400),
}


async def test_a_head_that_could_be_read_in_two_ways_is_refused(settings: Settings) -> None:
    async with a_site(settings) as site:
        for name, (data, status) in HEADS.items():
            answer = await answer_to(site, data)
            assert answer.startswith(b"HTTP/1.1 %d " % status), (name, answer)


@pytest.mark.parametrize("size", [65_536, 65_537])
async def test_a_long_head_is_taken_or_refused_however_it_arrives(settings: Settings, size: int) -> None:
    """Names, values, four bytes for each header, and the target count."""
    fixed = len(b"/healthz") + sum(len(line) + 2 for line in (b"Host: localhost", b"Connection: close", b"A: "))
    data = get(b"Host: localhost", b"A: " + b"a" * (size - fixed))
    async with a_site(settings) as site:
        for step in (len(data), 60_000, 1_000):
            reader, writer = await send(site, b"")
            for start in range(0, len(data), step):
                writer.write(data[start : start + step])
                await writer.drain()
            wanted = b"HTTP/1.1 200 " if size <= 65_536 else b"HTTP/1.1 400 "
            assert (await reader.readline()).startswith(wanted), step
            writer.transport.abort()


async def test_blanks_around_a_key_or_a_position_are_no_part_of_it(settings: Settings, log: Log) -> None:
    player = await Player.start(log)
    await player.finish()
    path = b"/v1/jobs/%b/events" % player.job_id.encode()
    async with a_site(settings) as site:
        answers = [await answer_to(site, post(b"Idempotency-Key:" + key)) for key in (b"k", b" k", b"\t k \t")]
        assert len({location(answer) for answer in answers}) == 1
        for value in (b"3", b" \t3\t "):
            answer = await answer_to(site, get(b"Host: localhost", b"Last-Event-ID:" + value, path=path))
            assert answer.startswith(b"HTTP/1.1 204 "), answer
        assert len((await site.http.get("/v1/jobs")).json()["jobs"]) == 1


def location(answer: bytes) -> bytes:
    [line] = [line for line in answer.split(b"\r\n") if line.lower().startswith(b"location: ")]
    return line


async def test_a_405_names_all_methods_of_the_path(settings: Settings) -> None:
    allowed = {
        "/v1/jobs": "GET, HEAD, POST",
        "/v1/jobs/abcdefghijklmnop": "DELETE, GET, HEAD",
        "/v1/jobs/abcdefghijklmnop/events": "GET, HEAD",
        "/v1/jobs/abcdefghijklmnop/cancel": "POST",
        "/chat/stream": "POST",
        "/healthz": "GET, HEAD",
        "/": "GET, HEAD",
        "/docs": "GET, HEAD",
        "/page/reader.js": "GET, HEAD",
    }
    async with a_site(settings) as site:
        for path, methods in allowed.items():
            answer = await site.http.request("PUT", path)
            assert (answer.status_code, answer.headers["allow"]) == (405, methods), path


async def test_a_path_with_a_slash_too_many_leads_nowhere(settings: Settings) -> None:
    """A redirect would repeat the Host that the client chose."""
    async with a_site(settings) as site:
        for path in ("/v1/jobs/", "/healthz/", "/docs/"):
            answer = await answer_to(site, get(b"Host: localhost", path=path.encode()))
            assert answer.startswith(b"HTTP/1.1 404 ")
            assert b"location" not in answer.lower()
