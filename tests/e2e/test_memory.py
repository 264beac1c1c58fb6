"""A worker runs out of real memory: it says why it ends, and its jobs continue elsewhere."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from readalong.core.states import TERMINAL
from tests.e2e.jobs import Job, chat, submit
from tests.support.history import assert_whole, text
from tests.support.processes import Process
from tests.support.servers import served
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux", reason="only Linux lowers the limit of another process that runs (prlimit)"
    ),
]

#: Bytes of a piece of the model's answers, and the additional memory of the limited worker.
PIECE = 65_536
ROOM = 16 * 1_048_576


@pytest.fixture(scope="module")
def running_tight(port: int) -> Iterator[Stack]:
    settings = {"READALONG_DRAIN_TIMEOUT": "1", "READALONG_MAX_ATTEMPTS": "3"}
    with Stack(workers=2, model_url=f"http://127.0.0.1:{port}/v1", settings=settings) as stack:
        yield stack


@pytest.fixture
def tight(running_tight: Stack) -> Iterator[Stack]:
    """Two workers, and a model that answers as much as its name asks for."""
    running_tight.heal()
    yield running_tight
    for worker in running_tight.workers:  # a process cannot raise its limit again
        worker.kill()


def said(count: int) -> str:
    """Returns the text of an answer of `count` pieces."""
    return "".join(f"{number:08d}".ljust(PIECE, ".") for number in range(count))


@asynccontextmanager
async def talker(port: int) -> AsyncIterator[None]:
    """A model whose name ends with the number of pieces of its answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
            body = json.loads(await reader.readexactly(int(length.partition(":")[2])))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            for number in range(int(body["model"].rpartition("-")[2])):
                writer.write(chunk({"content": f"{number:08d}".ljust(PIECE, ".")}))
                await writer.drain()
            writer.write(chunk({}, "stop") + b"data: [DONE]\n\n")
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):  # the worker has closed the connection or has ended
            return
        finally:
            writer.close()

    async with served(port, answer):
        yield


def chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    whole = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "talker", "choices": [choice]}
    return b"data: " + json.dumps(whole).encode() + b"\n\n"


def limit(worker: Process) -> None:
    """Limits the worker's address space to its present size and ROOM."""
    pages = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ROOM
    resource.prlimit(worker.pid, resource.RLIMIT_AS, (most, most))


@pytest.mark.parametrize(
    ("begun", "jobs", "pieces"),
    [(False, 1, 32), (True, 1, 480), (True, 24, 32)],
    ids=["first call", "one long answer", "many answers"],
)
async def test_jobs_of_a_worker_that_runs_out_of_memory_end_once_elsewhere_and_it_says_why_it_ends(
    tight: Stack, port: int, *, begun: bool, jobs: int, pieces: int
) -> None:
    """The worker ends by itself, or by a C library that cannot continue without memory: then the output names the
    place. A worker that has `begun` has the threads of its first call.
    """
    full, successor = tight.workers
    successor.stop()
    async with talker(port):
        if begun:
            await (await submit(tight, chat("talker-1"))).ended()
        limit(full)
        asked = [await submit(tight, chat(f"talker-{pieces}")) for _ in range(jobs)]
        await until(lambda: not full.running, "the worker to end")
        successor.cont()
        for job in asked:
            await until(partial(ended, job), "the job's end")
            log = tight.log_of(job.id)
            assert_whole(log)
            # Lack of memory in the model's connection counts as well.
            error = log[-1].fields.get("error")
            assert text(log) == said(pieces) if error is None else error["retryable"], error
    own, native = "out of memory; the worker stops", "Fatal Python error"
    assert (own if full.code == 1 else native) in full.output


def ended(job: Job) -> bool:
    """Reads the hash: the API would return the whole text."""
    return job.stack.hash_of(job.id)["status"] in TERMINAL
