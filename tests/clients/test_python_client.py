"""The Python client with a real stack: replicas that die, workers that die, clients that die, and no server at all."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import openai
import pytest

from readalong.client import (
    AsyncClient,
    AsyncDirectClient,
    Client,
    ClientOptions,
    DirectClient,
    GenerationFailed,
    GenerationRestarted,
    MisuseError,
)
from tests.clients.asked import TOOL, answer, paced, question
from tests.support.environment import clean_environment
from tests.support.stack import SECRET, Stack
from tests.support.waiting import until

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "clients" / "python.md"
EXAMPLES: Final = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
_OPTIONS: Final = ClientOptions(longest_wait=0.1)


def gone(stack: Stack, asked: str) -> bool:
    """Whether the connection of the question's one generation was closed on the model."""
    return [each["state"] for each in stack.generations(asked)] == ["gone"]


def is_asked(stack: Stack, asked: str) -> bool:
    """Whether the model has got the question."""
    return bool(stack.generations(asked))


async def test_a_stream_outlives_its_replica_and_its_connection(stack: Stack) -> None:
    asked, model = question(), paced(tokens=150, rate=50)
    trouble: list[object] = []
    async with AsyncClient(stack.urls, options=_OPTIONS) as client:
        stream = client.stream_chat(asked, model=model, on_trouble=trouble.append)
        said = []
        async for text in stream:
            said.append(text)
            if len(said) == 5:
                stack.apis[0].kill()
        assert "".join(said) == stream.text == answer(model, asked)
        assert trouble
        assert stream.progress.completion_tokens == 150


@pytest.mark.parametrize("handles", [False, True])
async def test_a_lost_worker_is_told_before_text_is_joined_wrongly(stack: Stack, handles: bool) -> None:
    asked, model = question(), paced(tokens=150, rate=50)
    said: list[str] = []
    async with AsyncClient(stack.urls, options=_OPTIONS) as client:
        stream = client.stream_chat(asked, model=model, on_restart=(lambda _: said.clear()) if handles else None)

        async def read() -> None:
            async for text in stream:
                said.append(text)
                if len(said) == 5 and stream.transcript.restarts == 0:
                    assert stream.job_id is not None
                    stack.worker_of((await client.job(stream.job_id)).fields["worker"]["pid"]).kill()

        if handles:
            await read()
            assert "".join(said) == stream.text == answer(model, asked)
            assert (stream.transcript.restarts, stream.transcript.attempt) == (1, 2)
        else:
            with pytest.raises(GenerationRestarted) as caught:
                await read()
            assert (caught.value.code, caught.value.retryable) == ("worker_lost", True)


async def test_a_cancel_from_another_task_closes_the_models_connection_before_the_loop_ends(stack: Stack) -> None:
    asked = question()
    async with AsyncClient(stack.urls) as client:
        stream = client.stream_chat(asked, model="demo-endless")
        count = 0
        async for _ in stream:
            count += 1
            if count == 3:
                cancel = asyncio.create_task(stream.cancel())
        await cancel
        assert stream.end is not None
        assert (stream.end.type, stream.end.content) == ("cancelled", stream.text)
        await until(lambda: gone(stack, asked))


_READS: Final = """
import sys
from readalong.client import Client
client = Client()
for text in client.stream_chat(sys.argv[1], model="demo-endless"):
    print(text, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "killed"])
async def test_a_program_that_ends_leaves_no_generation_running(stack: Stack, how: signal.Signals) -> None:
    """A killed one says nothing; the server sees that it has gone. The test does not wait for the grace of half a
    minute: that the job has it is what the server needs."""
    asked = question()
    environment = {**clean_environment(), "READALONG_URL": stack.url}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _READS, asked, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(how)
    await process.communicate()
    if how is signal.SIGINT:
        await until(lambda: gone(stack, asked))
    else:
        async with AsyncClient(stack.urls) as client:
            [job] = [job async for job in client.jobs(model="demo-endless", status="running")]
            assert (job.fields["cancel_on_disconnect"], job.fields["disconnect_grace"]) == (True, 30)


async def test_a_generation_that_is_to_go_on_does(stack: Stack) -> None:
    asked, model = question(), paced(tokens=60, rate=50)
    async with AsyncClient(stack.urls) as client:
        stream = client.stream_chat(asked, model=model, keep_running=True)
        async for _ in stream:
            break
        assert stream.job_id is not None
        watch = client.watch(stream.job_id)
        assert [event.type async for event in watch][-1] == "done"
        assert watch.text == answer(model, asked)
        await client.erase(stream.job_id)
        assert stream.job_id not in [job.id async for job in client.jobs()]


async def test_a_submit_with_a_key_is_one_job(stack: Stack) -> None:
    async with AsyncClient(stack.urls) as client:
        jobs = [await client.submit("Why?", idempotency_key="once", metadata={"a": "b"}) for _ in range(2)]
        assert jobs[0].id == jobs[1].id
        found = [job async for job in client.jobs(metadata={"a": "b"})]
        assert [(job.id, job.metadata) for job in found] == [(jobs[0].id, {"a": "b"})]


@pytest.fixture
def direct(stack: Stack) -> dict[str, Any]:
    """The arguments of an openai client for the demo model."""
    return {"base_url": stack.model_url, "api_key": SECRET, "max_retries": 0}


def test_without_a_server_the_events_are_the_same(stack: Stack, direct: dict[str, Any]) -> None:
    """But for what only a server knows: the job, the worker, the epochs."""
    asked = question()

    def told(events: Any) -> list[tuple[str, Any]]:
        shown = [(event.type, event.fields) for event in events]
        return [(kind, fields.get("arguments", fields.get("content"))) for kind, fields in shown]

    calls: dict[str, Any] = {"tools": [{"type": "function", "function": TOOL}]}
    cases: list[tuple[str, dict[str, Any]]] = [("demo-fast", {}), ("demo-tools", calls)]
    for model, more in cases:
        with Client(stack.url) as client, openai.OpenAI(**direct) as model_client:
            through = client.stream_chat(asked, model=model, **more)
            straight = DirectClient(model_client).stream_chat(asked, model=model, **more)
            events = told(straight.events())
            assert events[-1] == told(through.events())[-1]
            assert straight.text == through.text
            assert [call.parsed for call in straight.transcript.tool_calls] == [
                call.parsed for call in through.transcript.tool_calls
            ]
            assert straight.progress.completion_tokens == through.progress.completion_tokens
            assert straight.progress.count == through.progress.count


def test_without_a_server_a_cancel_from_another_thread_closes_the_connection(
    stack: Stack, direct: dict[str, Any]
) -> None:
    """Also while the model is silent: the reading thread waits in the kernel."""
    asked = question()
    with openai.OpenAI(**direct) as model, ThreadPoolExecutor(1) as pool:
        stream = DirectClient(model).stream_chat(asked, model="demo-stall")
        reading = pool.submit(lambda: [event.type for event in stream.events()])
        asyncio.run(until(lambda: stream.text and is_asked(stack, asked)))
        stream.cancel()
        assert reading.result(60)[-1] == "cancelled"
        assert stream.end is not None
        assert stream.end.content == stream.text
        asyncio.run(until(lambda: gone(stack, asked)))


@pytest.mark.parametrize("model", ["demo-stall", "demo-hang", "demo-endless"])
async def test_without_a_server_a_cancel_from_another_task_closes_the_connection(
    stack: Stack, direct: dict[str, Any], model: str
) -> None:
    """Also before the first byte."""
    asked = question()
    async with openai.AsyncOpenAI(**direct) as model_client:
        stream = AsyncDirectClient(model_client).stream_chat(asked, model=model)
        reading = asyncio.create_task(_types(stream))
        await until(lambda: is_asked(stack, asked))
        await stream.cancel()
        assert (await reading)[-1] == "cancelled"


async def _types(stream: Any) -> list[str]:
    return [event.type async for event in stream.events()]


@pytest.mark.parametrize(
    ("model", "code", "retryable"),
    [
        ("demo-429", "model_rate_limited", True),
        ("demo-500", "model_error", True),
        ("demo-cut", "model_cut", True),
        ("demo-close-early", "model_cut", True),
    ],
)
async def test_without_a_server_a_failure_is_that_of_a_job(
    direct: dict[str, Any], model: str, code: str, retryable: bool
) -> None:
    async with openai.AsyncOpenAI(**direct) as model_client:
        with pytest.raises(GenerationFailed) as caught:
            [text async for text in AsyncDirectClient(model_client).stream_chat("Why?", model=model)]
    assert (caught.value.code, caught.value.retryable) == (code, retryable)


def test_a_client_goes_straight_when_asked_to(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", stack.model_url)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.delenv("READALONG_MODEL", raising=False)
    with Client("http://127.0.0.1:9") as client:
        assert "".join(client.stream_chat("Why?", model="demo-fast", direct=True)) == answer("demo-fast", "Why?")
        with pytest.raises(MisuseError, match="name of a model"):
            client.stream_chat("Why?", direct=True)
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", stack.model_url.removesuffix("/v1"))
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("OPENAI_API_VERSION", "2026-01-01")
    with DirectClient() as azure:
        assert "".join(azure.stream_chat("Why?", model="demo-fast")) == answer("demo-fast", "Why?")


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_of_the_documentation_runs(stack: Stack, code: str) -> None:
    environment = {
        **clean_environment(),
        "READALONG_URL": stack.url,
        "OPENAI_BASE_URL": stack.model_url,
        "OPENAI_API_KEY": SECRET,
        "READALONG_MODEL": "demo-fast",
    }
    code = code.replace("http://127.0.0.1:8000", stack.url).replace("https://chat-b.example", stack.urls[1])
    code = code.replace("https://chat-a.example", stack.url)
    command = [sys.executable, "-W", "error", "-c", code]
    ran = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
