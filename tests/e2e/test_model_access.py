"""A missing model and a refused key fail the job, and no output shows the key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.e2e.conftest import assert_no_traceback
from tests.e2e.jobs import chat, paced, submit
from tests.support.client import call
from tests.support.history import assert_whole
from tests.support.model import REFUSALS
from tests.support.servers import served
from tests.support.stack import SECRET, Stack


@pytest.fixture(scope="module")
def strange(port: int) -> Iterator[Stack]:
    """A stack whose model is the test's own server, if one runs."""
    with Stack(model_url=f"http://127.0.0.1:{port}/v1") as stack:
        yield stack
        assert_no_traceback(stack)


@asynccontextmanager
async def parrot(port: int) -> AsyncIterator[list[str]]:
    """Serves a model that refuses every request with the status in the model's name, and quotes the key.

    The key is in the status line and the error body, or with 200 in an error in mid-stream. Yields the keys so far.
    """
    keys: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        keys.append(headers["authorization"].removeprefix("Bearer "))
        status = int(body["model"].removeprefix("parrot-"))
        error = json.dumps({"error": {"message": f"Your key {keys[-1]} is no good.", "code": keys[-1]}}).encode()
        kind = "application/json"
        if status == 200:
            error, kind = b"data: " + error + b"\n\n", "text/event-stream"
        reply = (
            f"HTTP/1.1 {status} {keys[-1]}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(error)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(reply.encode() + error)
        await writer.drain()
        writer.close()

    async with served(port, answer):
        yield keys


async def test_a_model_that_is_not_there_fails_the_job_which_may_be_tried_again(strange: Stack) -> None:
    """The connection is refused more than once."""
    job = await submit(strange, paced())
    shown = await job.ended()
    assert_whole(strange.log_of(job.id))
    assert (shown["status"], shown["error"]["code"], shown["error"]["retryable"]) == (
        "failed",
        "model_unreachable",
        True,
    )


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        *((status, *REFUSALS[status]) for status in (400, 401, 403, 404, 429, 503)),
        (200, "model_error", True),
    ],
)
async def test_a_refusal_that_quotes_the_key_is_told_without_it(
    strange: Stack, port: int, status: int, code: str, retryable: bool
) -> None:
    """The log, the hash, every response and every output are without the key. 200 is an error in mid-stream."""
    async with parrot(port) as keys:
        job = await submit(strange, chat(f"parrot-{status}"))
        watcher = await job.watcher().run()
        shown = await job.ended()
    assert set(keys) == {SECRET}
    assert (shown["status"], shown["error"]["code"], shown["error"]["retryable"]) == ("failed", code, retryable)
    assert SECRET not in str(watcher.history)
    assert_no_secret(strange)


async def test_the_models_key_is_nowhere_but_in_the_requests_to_the_model(stack: Stack) -> None:
    """The key is not in Redis, in any response or in any output, while the worker that has it runs."""
    jobs = [
        await submit(stack, paced(tokens=5, rate=0)),
        await submit(stack, chat("demo-fast+error")),
        await submit(stack, chat("demo-hang")),
    ]
    for job in jobs[:2]:
        await job.ended()
    assert_no_secret(stack)
    await jobs[2].cancel()
    await jobs[2].ended()
    assert all("authorization" in made["headers"] for job in jobs for made in stack.generations(job.question))
    for path in ("/v1/jobs", "/openapi.json", "/readyz", *(f"/v1/jobs/{job.id}" for job in jobs)):
        assert SECRET.encode() not in (await call("GET", stack.url + path)).body
    assert_no_secret(stack)


def assert_no_secret(stack: Stack) -> None:
    """Asserts that no Redis key, value or process output holds the key."""
    for key, value in stack.dump().items():
        assert SECRET not in key + value, key
    for process in stack.processes:
        assert not process.log.exists() or SECRET not in process.log.read_text(), process.name
