"""`POST /v1/jobs`: a valid body becomes one queued job; any other body gets a clear response."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import orjson
import pytest
from arq.connections import ArqRedis

from readalong.api.problems import MEDIA_TYPE, Problem
from readalong.api.schemas import Job
from readalong.core.keys import is_job_id
from readalong.core.settings import Settings
from readalong.store.idempotency import key_digest
from readalong.store.job_index import JobIndex
from readalong.store.job_record import Record
from readalong.store.log import Log
from readalong.store.queue import Queue
from readalong.store.submission import Submission
from tests.api.helpers import Player
from tests.api.serving import Site, a_site, on_valkey, short_settings
from tests.readalong.helpers import command
from tests.support.connections import open_connection
from tests.support.waiting import until

pytestmark = on_valkey

BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


def problem(answer: httpx2.Response, status: int, code: str, field: str | None = None) -> Problem:
    """Returns the problem in a response, which must be one."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE), answer.text
    found = Problem.model_validate_json(answer.content, strict=True)
    assert (found.status, found.code, found.field) == (status, code, field)
    return found


def job(answer: httpx2.Response, status: int = 202) -> Job:
    """Returns the job in a response, which must be one."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    return Job.model_validate_json(answer.content, strict=True)


async def submit(site: Site, body: Any = None, key: str | None = None) -> httpx2.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await site.http.post("/v1/jobs", json=BODY if body is None else body, headers=headers)


async def test_a_submit_answers_the_queued_job_and_where_it_is(
    settings: Settings, log: Log, queue: Queue, redis: ArqRedis
) -> None:
    body = {**BODY, "model": "m1", "metadata": {"user": "u"}, "temperature": 0.5, "unknown": {"x": 1}}
    raw = orjson.dumps(body, option=orjson.OPT_INDENT_2)
    async with a_site(settings) as site:
        answer = await site.http.post("/v1/jobs", content=raw)
        shown = job(answer)
        assert answer.headers["location"] == f"/v1/jobs/{shown.id}" == shown.links.self
        assert is_job_id(shown.id)
        assert (shown.status, shown.attempt, shown.last_seq, shown.model) == ("queued", 0, 1, "m1")
        assert shown.metadata.root == {"user": "u"}
        record = await log.record(shown.id)
        assert record is not None
        stored = await command(redis, "HGET", settings.keys.job(shown.id), "request")
        assert orjson.loads(stored) == {name: value for name, value in body.items() if name != "metadata"}
        raw = orjson.dumps(BODY, option=orjson.OPT_INDENT_2)
        plain = job(await site.http.post("/v1/jobs", content=raw))
        assert await command(redis, "HGET", settings.keys.job(plain.id), "request") == raw, (
            "a request without metadata is kept as it came"
        )
        assert await queue.contains([shown.id]) == [True]
        assert [taken.job_id for taken in await queue.acquire("w", 10)] == [shown.id, plain.id]


async def test_a_job_without_a_model_gets_the_server_s(redis_url: str) -> None:
    async with a_site(short_settings(redis_url, model="ours")) as site:
        assert job(await submit(site)).model == "ours"
        assert job(await submit(site, {**BODY, "model": None})).model == "ours"


async def test_each_submit_is_a_job_of_its_own_without_a_key(settings: Settings) -> None:
    async with a_site(settings) as site:
        assert job(await submit(site)).id != job(await submit(site)).id


async def test_the_same_key_and_body_answer_the_same_job(settings: Settings, log: Log, queue: Queue) -> None:
    """The job's state, and the order and spacing of the body, do not matter. The job is queued once."""
    async with a_site(settings) as site:
        first = job(await submit(site, {**BODY, "n": 1, "stop": "x"}, "key"))
        again = await site.http.post(
            "/v1/jobs",
            content=b' {"stop":"x", "n":1, "messages":[{"content":"hi","role":"user"}]}',
            headers={"Idempotency-Key": "key"},
        )
        assert job(again).id == first.id
        assert again.headers["location"] == f"/v1/jobs/{first.id}"
        assert len(await queue.acquire("w", 10)) == 1
        player = await Player.start(log, first.id)
        await player.say(1)
        await player.finish(content="3 ")
        ended = job(await submit(site, {**BODY, "n": 1, "stop": "x"}, "key"))
        assert (ended.id, ended.status, ended.content) == (first.id, "done", "3 ")


async def test_the_same_key_with_another_body_is_a_conflict(settings: Settings) -> None:
    async with a_site(settings) as site:
        first = job(await submit(site, key="key"))
        found = problem(await submit(site, {**BODY, "n": 2}, "key"), 409, "idempotency_conflict")
        assert not found.retryable
        assert job(await submit(site, key="key")).id == first.id
        assert job(await submit(site, {**BODY, "n": 2}, "other")).id != first.id


async def test_a_key_whose_job_has_expired_starts_nothing(
    settings: Settings, redis: ArqRedis, log: Log, queue: Queue
) -> None:
    """A new job would generate the answer again. A job that was never written is another matter."""
    async with a_site(settings.model_copy(update={"retention": 3600.0})) as site:
        shown = job(await submit(site, key="key"))
        await queue.remove(shown.id)
        await log.delete(shown.id)
        await redis.pexpire(settings.keys.idempotency(key_digest("key")), 60_000)  # as after the rest of its day
        assert not problem(await submit(site, key="key"), 410, "job_expired").retryable
        assert await queue.acquire("w", 10) == []
        assert await log.record(shown.id) is None


async def test_a_key_whose_job_redis_has_lost_writes_it_again(
    settings: Settings, redis: ArqRedis, queue: Queue
) -> None:
    """A failover loses the job, and the mark of its key is sent again behind it."""
    async with a_site(settings) as site:
        shown = job(await submit(site, key="key"))
        await queue.remove(shown.id)
        await redis.delete(settings.keys.job(shown.id), settings.keys.events(shown.id))
        assert job(await submit(site, key="key")).id == shown.id
        assert [taken.job_id for taken in await queue.acquire("w", 10)] == [shown.id]


async def test_a_job_that_redis_loses_during_a_repeat_is_to_be_submitted_again(
    settings: Settings, redis: ArqRedis, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that still names it does not make it expired, which tells a client to give up."""
    async with a_site(settings) as site:
        shown = job(await submit(site, key="key"))
        await Player.start(log, shown.id)
        read = site.deps.log.transcript

        async def read_late(*given: Any, **more: Any) -> Any:
            await redis.delete(settings.keys.job(shown.id), settings.keys.events(shown.id))
            return await read(*given, **more)

        with monkeypatch.context() as patch:
            patch.setattr(site.deps.log, "transcript", read_late)
            assert problem(await submit(site, key="key"), 503, "redis_unavailable").retryable
        assert job(await submit(site, key="key")).id == shown.id


async def test_an_erased_jobs_key_is_as_good_as_new(settings: Settings) -> None:
    async with a_site(settings) as site:
        shown = job(await submit(site, key="key"))
        assert (await site.http.delete(f"/v1/jobs/{shown.id}")).status_code == 204
        assert job(await submit(site, key="key")).id != shown.id


@pytest.mark.parametrize("path", ["/v1/jobs", "/chat/stream"])
async def test_a_job_that_is_gone_before_its_submit_is_answered_is_to_be_submitted_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A copy of the submit arrives after an erase, as after a lost reply."""
    async with a_site(settings) as site:
        log = site.deps.log
        write = log.submit

        async def repeated(new: Submission) -> tuple[bool, Record]:
            await write(new)
            await log.delete(new.job_id)
            return await write(new)

        monkeypatch.setattr(log, "submit", repeated)
        answer = await site.http.post(path, json=BODY)
        assert problem(answer, 503, "redis_unavailable").retryable
        assert answer.headers["retry-after"] == "1"


async def test_a_job_that_redis_loses_while_a_repeat_is_answered_is_to_be_submitted_again(
    settings: Settings, log: Log, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover: the repeat has found the job, and its log is gone. A 404 would say that the address is wrong."""
    async with a_site(settings) as site:
        first = job(await submit(site, key="k"))
        await (await Player.start(log, first.id)).say(3)
        found = site.deps.submitter.submit

        async def find(*args: Any, **more: Any) -> Record:
            record = await found(*args, **more)
            await redis.flushdb()
            return record

        monkeypatch.setattr(type(site.deps.submitter), "submit", staticmethod(find))
        assert problem(await submit(site, key="k"), 503, "redis_unavailable").retryable


async def test_the_erase_of_a_job_leaves_a_key_that_another_job_has_by_now(settings: Settings, redis: ArqRedis) -> None:
    """The key's first record expired before the erase. Otherwise a repeat of the newer job's submit would be
    generated and paid for again."""
    async with a_site(settings) as site:
        first = job(await submit(site, key="key"))
        await redis.delete(settings.keys.idempotency(key_digest("key")))
        second = job(await submit(site, key="key"))
        assert second.id != first.id
        assert (await site.http.delete(f"/v1/jobs/{first.id}")).status_code == 204
        assert job(await submit(site, key="key")).id == second.id


async def test_racing_submits_with_one_key_make_one_job(settings: Settings, queue: Queue, index: JobIndex) -> None:
    async with a_site(settings) as site:
        for number in range(5):
            answers = await asyncio.gather(*(submit(site, key=f"key{number}") for _ in range(6)))
            assert len({job(answer).id for answer in answers}) == 1
        assert len(await queue.acquire("w", 100)) == 5
        assert len(await index.page(None, 100)) == 5


@pytest.mark.parametrize("key", ["", "k" * 256], ids=["empty", "too long"])
async def test_a_key_that_cannot_be_one_is_refused(settings: Settings, key: str) -> None:
    async with a_site(settings) as site:
        problem(await submit(site, key=key), 422, "invalid_request", "Idempotency-Key")
        assert job(await submit(site, key="k" * 255)).status == "queued"


async def test_a_full_queue_is_429_but_an_accepted_key_still_answers(redis_url: str, log: Log, queue: Queue) -> None:
    """There is room as soon as a worker acquires a job."""
    async with a_site(short_settings(redis_url, max_queued=2)) as site:
        first = job(await submit(site, key="first"))
        job(await submit(site))
        for key in (None, "new"):
            answer = await submit(site, key=key)
            assert problem(answer, 429, "queue_full").retryable
            assert int(answer.headers["retry-after"]) >= 1
        assert job(await submit(site, key="first")).id == first.id
        assert len((await site.http.get("/v1/jobs")).json()["jobs"]) == 2, "a refused job leaves nothing in the list"
        await queue.acquire("w", 1)
        assert job(await submit(site, key="new")).status == "queued", "the refused key may try again"


async def test_without_a_limit_the_queue_is_never_full(redis_url: str) -> None:
    async with a_site(short_settings(redis_url, max_queued=0)) as site:
        for _ in range(5):
            job(await submit(site))


BAD_BODIES: dict[str, tuple[bytes, int, str, str | None]] = {
    "nothing": (b"", 400, "invalid_json", None),
    "no JSON": (b"{'messages'}", 400, "invalid_json", None),
    "cut JSON": (b'{"messages": [', 400, "invalid_json", None),
    "NaN": (b'{"temperature": NaN}', 400, "invalid_json", None),
    "a number without end": (b'{"n": 1e400}', 400, "invalid_json", None),
    "half a surrogate": (b'{"messages": "\\ud800"}', 400, "invalid_json", None),
    "a float of many digits": (b'{"messages":[{}],"n":' + b"9" * 5000 + b"}", 400, "invalid_json", None),
    "a large integer": (b'{"messages":[{}],"seed":18446744073709551616}', 422, "invalid_request", "seed"),
    "a large integer in metadata": (
        b'{"messages":[{}],"metadata":{"a":[1,{"b":-9223372036854775809}]}}',
        422,
        "invalid_request",
        "metadata.a.1.b",
    ),
    "nested beyond reason": (b'{"messages":' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "invalid_json", None),
    "no UTF-8": (b'{"messages": "\xff"}', 400, "invalid_encoding", None),
    "UTF-16": (orjson.dumps(BODY).decode().encode("utf-16"), 400, "invalid_encoding", None),
    "a list": (b"[]", 422, "invalid_request", "body"),
    "a text": (b'"messages"', 422, "invalid_request", "body"),
    "null": (b"null", 422, "invalid_request", "body"),
    "an empty object": (b"{}", 422, "invalid_request", "messages"),
    "no messages": (b'{"messages": []}', 422, "invalid_request", "messages"),
    "no message": (b'{"messages": ["hi"]}', 422, "invalid_request", "messages.0"),
    "out of range": (b'{"messages":[{"role":"user"}],"n":0}', 422, "invalid_request", "n"),
}


@pytest.mark.parametrize("path", ["/v1/jobs", "/chat/stream"])
async def test_a_bad_body_has_a_clear_answer_and_leaves_nothing(settings: Settings, redis: ArqRedis, path: str) -> None:
    async with a_site(settings) as site:
        for name, (body, status, code, field) in BAD_BODIES.items():
            answer = await site.http.post(path, content=body, headers={"Idempotency-Key": "k"})
            assert answer.status_code == status, f"{name}: {answer.text}"
            problem(answer, status, code, field)
    assert await redis.keys("*") == []


@pytest.mark.parametrize("path", ["/v1/jobs", "/chat/stream"])
@pytest.mark.parametrize("depth", [100, 253, 254, 300, 900])
async def test_a_deeply_nested_parameter_is_taken_or_refused_but_breaks_nothing(
    settings: Settings, path: str, depth: int
) -> None:
    """orjson reads deeper nesting than it writes."""
    body = b'{"messages":[{"role":"user","content":"x"}],"deep":' + b"[" * depth + b"]" * depth + b"}"
    async with a_site(settings) as site, site.http.stream("POST", path, content=body) as answer:
        assert answer.status_code in ((200, 202) if depth <= 100 else (200, 202, 400, 422))


@pytest.mark.parametrize("path", ["/v1/jobs", "/chat/stream"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_a_body_of_50_mb_is_413_without_being_kept(settings: Settings, path: str, framing: str) -> None:
    """With a length it is refused unread, without one as soon as it is too long. The connection may be dropped."""
    async with a_site(settings) as site:
        size = 50 * 1024 * 1024
        head = [f"POST {path} HTTP/1.1", "Host: localhost"]
        head.append(f"Content-Length: {size}" if framing == "length" else "Transfer-Encoding: chunked")
        reader, writer = await open_connection(site.port)
        writer.write("\r\n".join([*head, "", ""]).encode())
        piece = b"x" * 65_536
        sent = 0

        async def send() -> None:
            nonlocal sent
            while sent < size:
                writer.write(piece if framing == "length" else b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
                sent += len(piece)

        sending = asyncio.create_task(send())
        async with asyncio.timeout(200):
            status = await reader.readline()
            headers = await reader.readuntil(b"\r\n\r\n")
            assert status == b"HTTP/1.1 413 Request Entity Too Large\r\n" or status.startswith(b"HTTP/1.1 413 ")
            length = int(headers.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            found = Problem.model_validate_json(await reader.readexactly(length), strict=True)
        assert (found.code, found.retryable) == ("body_too_large", False)
        if framing == "chunks":
            assert sent < size, "it was refused before it had all come"
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.transport.abort()
        assert job(await submit(site)).status == "queued", "the server goes on"


async def test_a_body_just_within_the_limit_passes(redis_url: str) -> None:
    async with a_site(short_settings(redis_url, max_body_bytes=2000)) as site:
        room = 2000 - len(orjson.dumps({"messages": [{"role": "user", "content": ""}]}))
        for extra, status in ((0, 202), (1, 413)):
            body = orjson.dumps({"messages": [{"role": "user", "content": "x" * (room + extra)}]})
            assert (await site.http.post("/v1/jobs", content=body)).status_code == status


async def test_a_client_that_goes_away_in_its_body_is_no_error_of_ours(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Phones lose their connections often. A stack trace for each would hide real errors."""
    async with a_site(settings) as site:
        _, writer = await open_connection(site.port)
        writer.write(b'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"mess')
        await writer.drain()
        await until(lambda: site.server.server_state.tasks, "the request is under way")
        writer.transport.abort()
        await until(lambda: not site.server.server_state.tasks, "the request to end")
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []
