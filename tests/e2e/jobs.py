"""Helpers for jobs of the end-to-end tests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from readalong.testing import text_for
from tests.support.client import Answer, Watcher, call
from tests.support.history import assert_whole, text
from tests.support.processes import Process
from tests.support.stack import Stack
from tests.support.waiting import until


class Job:
    """A chat job with a unique question, by which the model's statistics identify it."""

    def __init__(self, stack: Stack, body: dict[str, Any], shown: dict[str, Any]) -> None:
        self.stack = stack
        self.body = body
        self.id: str = shown["id"]

    @property
    def text(self) -> str:
        """The text of the model's answer."""
        return text_for(self.body)

    @property
    def question(self) -> str:
        question: str = self.body["messages"][-1]["content"]
        return question

    async def show(self, url: str | None = None) -> dict[str, Any]:
        """Returns the job from this API, or from the first."""
        answer = await call("GET", f"{url or self.stack.url}/v1/jobs/{self.id}")
        assert answer.status == 200, answer
        shown: dict[str, Any] = answer.json()
        return shown

    async def cancel(self, url: str | None = None) -> Answer:
        return await call("POST", f"{url or self.stack.url}/v1/jobs/{self.id}/cancel")

    def watcher(self, *urls: str, position: int = 0, resumes: bool = True) -> Watcher:
        """Returns a watcher of these APIs in turn, or of all."""
        return Watcher(urls or self.stack.urls, self.id, position, resumes)

    async def reach(self, seq: int) -> None:
        """Returns when the log has event `seq`."""
        await until(lambda: self.stack.log_of(self.id)[seq - 1 :], f"event {seq}")

    async def says(self, part: float) -> None:
        """Returns when the log has this part of the text, a number from 0 to 1."""
        length = len(self.text)
        await until(lambda: len(text(self.stack.log_of(self.id))) >= part * length, f"{part:.0%} of the text")

    async def at_model(self, count: int = 1) -> None:
        """Returns when the model has got this many requests for the job."""
        await until(lambda: len(self.stack.generations(self.question)) >= count, "the call to the model")

    async def model_let_go(self) -> None:
        """Returns when the model has no open connection for this job."""
        await until(
            lambda: all(made["state"] != "open" for made in self.stack.generations(self.question)),
            "the model's connection to be closed",
        )

    async def worker(self) -> Process:
        """Returns the process that runs the job; waits until one does."""
        shown = await until(self._running, "the job to run")
        return self.stack.worker_of(shown["worker"]["pid"])

    async def ended(self, url: str | None = None) -> dict[str, Any]:
        """Returns the ended job from this API, or from the first; waits for its end."""
        return await until(lambda: self._ended(url), "the job's end")

    async def _running(self) -> dict[str, Any] | None:
        shown = await self.show()
        return shown if shown["status"] == "running" else None

    async def _ended(self, url: str | None) -> dict[str, Any] | None:
        shown = await self.show(url)
        return shown if shown["status"] not in ("queued", "running") else None


def chat(model: str = "demo", question: str = "How does this stream reach me?", **more: Any) -> dict[str, Any]:
    """Returns a request body with a unique question."""
    return {"model": model, "messages": [{"role": "user", "content": f"{question} ({uuid4().hex})"}], **more}


def paced(tokens: int = 60, rate: float = 60, model: str = "demo", **more: Any) -> dict[str, Any]:
    """Returns a request for `tokens` at `rate` a second, without a wait for the first."""
    demo = {"tokens": tokens, "tokens_per_second": rate, "first_token_seconds": 0, **more}
    return chat(model, demo=demo)


async def submit(
    stack: Stack, body: dict[str, Any], *, url: str | None = None, headers: Mapping[str, str] | None = None
) -> Job:
    """Submits a job to this API, or to the first."""
    answer = await call("POST", f"{url or stack.url}/v1/jobs", body, headers)
    assert answer.status == 202, answer
    return Job(stack, body, answer.json())


async def watched(stack: Stack, tokens: int = 60, rate: float = 100) -> tuple[Job, asyncio.Task[Watcher]]:
    """Returns a job in mid-stream and its watcher, whose connection to the API must hold."""
    job = await submit(stack, paced(tokens=tokens, rate=rate))
    watching = asyncio.create_task(job.watcher(resumes=False).run())
    await job.says(0.2)
    return job, watching


async def assert_unharmed(job: Job, watching: asyncio.Task[Watcher]) -> None:
    """Asserts one attempt, the whole text, and no gap for the watcher."""
    shown = await job.ended()
    log = job.stack.log_of(job.id)
    assert_whole(log, (await watching).history)
    assert (shown["status"], shown["attempt"], text(log)) == ("done", 1, job.text)
