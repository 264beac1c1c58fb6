"""A worker closes an endless 200 that is no answer of a model, and the job says why."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import assert_no_traceback
from tests.e2e.jobs import chat, submit
from tests.support.history import assert_whole, kinds
from tests.support.servers import served
from tests.support.stack import Stack
from tests.support.waiting import until

#: Largest answer, and the largest growth of a worker's memory, in bytes.
LONGEST = 4_194_304
ROOM = 48 * 1_048_576


@pytest.fixture(scope="module")
def lost(port: int) -> Iterator[Stack]:
    """A stack whose model's address belongs to another server."""
    settings = {
        "READALONG_FIRST_TOKEN_TIMEOUT": "10",
        "READALONG_LEASE": "20",
        "READALONG_MAX_ANSWER_BYTES": str(LONGEST),
        "READALONG_MAX_RESPONSE_BYTES": str(4 * LONGEST),
    }
    with Stack(model_url=f"http://127.0.0.1:{port}/v1", settings=settings) as stack:
        yield stack
        assert_no_traceback(stack)


@dataclass(frozen=True)
class Rubbish:
    """A piece that the server sends endlessly, at an interval in seconds, and the expected result."""

    name: str
    content_type: str
    piece: bytes
    pause: float
    code: str
    retryable: bool
    #: Before the first token a retryable failure is retried: here once, unless the time for the first token is over.
    requests: int


RUBBISH = [
    Rubbish("page", "text/html", b"<p>The page of a proxy.</p>\n", 0.01, "model_malformed", False, 1),
    Rubbish("line", "text/event-stream", b"x" * 262_144, 0, "model_malformed", True, 2),
    Rubbish("events", "text/event-stream", b"data: no JSON\n\n", 0.01, "model_malformed", True, 2),
    Rubbish("lines", "text/event-stream", b"The page of a proxy.\n" * 9, 0.01, "model_malformed", True, 2),
    Rubbish("blanks", "application/json", b" " * 262_144, 0, "model_answer_too_large", False, 1),
    Rubbish("document", "application/json", b"[" * 262_144, 0, "model_answer_too_large", False, 1),
    Rubbish("data", "text/event-stream", b"data: " + b"x" * 60_000 + b"\n", 0, "model_answer_too_large", False, 1),
    Rubbish("comments", "text/event-stream", b":" + b"x" * 60_000 + b"\n", 0, "model_answer_too_large", False, 1),
]


@dataclass
class Served:
    """The requests to the server, and the connections that the client has closed."""

    requests: int = 0
    closed: int = 0


@asynccontextmanager
async def endless(port: int, rubbish: Rubbish) -> AsyncIterator[Served]:
    """Serves the piece until the client closes."""
    seen = Served()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        seen.requests += 1
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {rubbish.content_type}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        try:
            while True:
                writer.write(rubbish.piece)
                await writer.drain()
                await asyncio.sleep(rubbish.pause)
        except ConnectionError:
            seen.closed += 1
        finally:
            writer.close()

    async with served(port, answer):
        yield seen


@pytest.mark.parametrize("rubbish", RUBBISH, ids=lambda rubbish: rubbish.name)
async def test_an_endless_body_that_is_no_answer_is_let_go_and_the_job_fails(
    lost: Stack, port: int, rubbish: Rubbish
) -> None:
    """The worker still runs, and its memory has grown little."""
    worker = lost.workers[0]
    pid = worker.pid
    before = most_memory(pid)
    async with endless(port, rubbish) as served:
        job = await submit(lost, chat())
        shown = await job.ended()
        await until(lambda: served.closed == served.requests, "the connections to be closed")
    log = lost.log_of(job.id)
    assert_whole(log)
    assert kinds(log) == ["queued", "started", "failed"]
    assert (shown["error"]["code"], shown["error"]["retryable"]) == (rubbish.code, rubbish.retryable)
    assert served.requests == rubbish.requests
    assert (worker.pid, worker.running) == (pid, True)
    assert most_memory(pid) - before < ROOM


def most_memory(pid: int) -> int:
    """Returns the peak memory of a process in bytes; 0 if unknown."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():  # not Linux
        return 0
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) * 1024
