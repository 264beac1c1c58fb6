"""Requests of the OpenAI SDKs: their models, their tools, and the jobs that they made."""

from __future__ import annotations

from typing import Any, Final, Literal
from uuid import uuid4

from pydantic import BaseModel

from readalong.testing import text_for
from tests.e2e.jobs import Job
from tests.support.client import call
from tests.support.stack import Stack
from tests.support.waiting import until


class Weather(BaseModel):
    """What is asked for in structured answers, and the arguments of the tool."""

    city: str
    unit: Literal["celsius", "fahrenheit"]
    days: int


#: The tool with the name of the class.
TOOL: Final[dict[str, Any]] = {"name": "Weather", "parameters": {**Weather.model_json_schema()}}


def question(text: str = "How does this stream reach me?") -> str:
    """Returns a question that no other test asks."""
    return f"{text} ({uuid4().hex})"


def messages(asked: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": asked}]


def paced(tokens: int = 150, rate: float = 75) -> str:
    """Returns the name of a model that says so many tokens at this rate."""
    return f"demo-tokens={tokens}+tokens_per_second={rate:g}+first_token_seconds=0"


def answer(model: str, asked: str, **more: Any) -> str:
    """Returns what the demo model says to one question."""
    return text_for({"model": model, "messages": messages(asked), **more})


async def job_for(stack: Stack, model: str, asked: str) -> Job:
    """Returns the job of a question; waits until there is one. There must be one alone."""
    body = {"model": model, "messages": messages(asked)}

    async def found() -> list[dict[str, Any]]:
        jobs = (await call("GET", f"{stack.urls[-1]}/v1/jobs")).json()["jobs"]
        return [shown for shown in jobs if shown["model"] == model]

    [shown] = await until(found, "the job")
    return Job(stack, body, shown)
