"""A worker that holds each job at the stage named by its `user`, until `go`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.e2e.jobs import Job, paced, submit
from tests.support.stack import Stack
from tests.support.waiting import until

#: `taken`: leased, not claimed. `asked`: the model has accepted the request and sent nothing. `finishing`: the model
#: has sent all; `ended`: so has the log, and the queue still has the job.
STAGES: Final = ("taken", "claimed", "asked", "streaming", "finishing", "ended")

_CODE: Final = """
import asyncio, functools, logging, os, sys, time
from contextlib import asynccontextmanager
from pathlib import Path
import orjson
from readalong.store.log import Log
from readalong.store.queue import Queue
from readalong.core.settings import load
from readalong.worker.main import run
from readalong.worker.model.openai.provider import OpenAIProvider

FOLDER = Path(os.environ["READALONG_TEST_STAGES"])
STAGE_OF, APPENDS, HELD, LATE = {}, {}, set(), []

async def reached(stage):
    (FOLDER / stage).touch()
    go = FOLDER / f"go-{stage}"
    while not go.exists():
        while (FOLDER / "block").exists() and not go.exists():
            time.sleep(0.01)
        await asyncio.sleep(0.01)

def held(stage, *, after=False):
    def around(method):
        @functools.wraps(method)
        async def wrapper(self, job_id, *rest):
            answer = await method(self, job_id, *rest) if after else None
            if stage == "claimed":
                STAGE_OF[job_id] = orjson.loads(answer.request or b"{}").get("user")
            if STAGE_OF.get(job_id) == stage and (job_id, stage) not in HELD:
                HELD.add((job_id, stage))
                await reached(stage)
            return answer if after else await method(self, job_id, *rest)
        return wrapper
    return around

Log.claim = held("claimed", after=True)(Log.claim)
send = Log.send

def send_held(self, job_id, fence, first, drafts, on_answer, **how):
    calls = APPENDS[job_id] = APPENDS.get(job_id, 0) + 1
    if STAGE_OF.get(job_id) != "streaming" or calls != 2:
        return send(self, job_id, fence, first, drafts, on_answer, **how)

    async def later():
        await reached("streaming")
        if not send(self, job_id, fence, first, drafts, on_answer, **how):
            on_answer(ConnectionError("not connected"))

    LATE.append(asyncio.create_task(later()))
    return True

Log.send = send_held
Log.finish = held("ended", after=True)(held("finishing")(Log.finish))
stream, take = OpenAIProvider.stream, Queue.acquire

@asynccontextmanager
async def stream_held(self, request, chunks):
    async with stream(self, request, chunks) as batches:
        if request.get("user") == "asked":
            await reached("asked")
        yield batches

async def take_held(self, *given):
    taken = await take(self, *given)
    if taken and (FOLDER / "take").exists():
        await reached("taken")
    return taken

OpenAIProvider.stream, Queue.acquire = stream_held, take_held
logging.basicConfig(level="INFO", format="%(levelname)s %(name)s: %(message)s")
sys.exit(run(load()))
"""


class Staged:
    """One worker of the stack, restarted with the code above; the other one is stopped.

    `hold` brings a job to each stage.
    """

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.worker, self.successor = stack.workers
        self.jobs: dict[str, Job] = {}
        self.id = ""
        self._folder = folder

    async def hold(self, **more: str) -> None:
        """Returns when a job is at each stage. `more`: fields of the request."""
        for stage in (*STAGES[1:], STAGES[0]):
            if stage == "taken":
                (self._folder / "take").touch()
            # Slow: a worker that the machine delays must not append everything at once.
            body = paced(tokens=30, rate=20 if stage == "streaming" else 100)
            job = await submit(self.stack, {**body, "user": stage, **more})
            await until((self._folder / stage).exists, f"a job at {stage}")
            self.jobs[stage] = job
        self.id = json.loads(self.stack.hash_of(self.jobs["claimed"].id)["worker"])["id"]

    def block(self) -> None:
        """Blocks the worker's event loop until `go`."""
        (self._folder / "block").touch()

    def go(self, *stages: str) -> None:
        """Lets the jobs at these stages continue."""
        for stage in stages:
            (self._folder / f"go-{stage}").touch()

    async def is_idle(self) -> None:
        """Returns when the worker reports no running job."""

        def idle() -> bool:
            said = self.stack.redis.command("GET", self.stack.keys.worker(self.id))
            return bool(said) and json.loads(said)["running"] == []

        await until(idle, "the worker to let go of its jobs")


@contextmanager
def staged(stack: Stack, **settings: str) -> Iterator[Staged]:
    """`settings`: environment of the worker. The stack restores its usual worker afterwards."""
    with tempfile.TemporaryDirectory(prefix="readalong-stages-") as name:
        one = Staged(stack, Path(name))
        one.successor.stop()
        one.worker.restart_as(_CODE, READALONG_TEST_STAGES=name, **settings)
        yield one
        one.worker.kill()
