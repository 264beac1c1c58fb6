"""What needs no SDK: curl as the documentation of OpenAI has it."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import Any

import pytest

from tests.clients.asked import answer, job_for, messages, paced, question
from tests.support.stack import Stack

has_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on the PATH")
#: curl's exit code for a body that broke off.
BROKEN = 18


async def curl(url: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
    """Returns the exit code and the output of curl, which does not buffer it."""
    data = [] if body is None else ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    process = await asyncio.create_subprocess_exec("curl", "-sN", *data, url, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


def payloads(output: str) -> list[Any]:
    """Returns the data of each whole event but `[DONE]`."""
    lines = [line.removeprefix("data: ") for line in output.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines if line.endswith("}")]


@has_curl
async def test_curl_reads_both_faces(stack: Stack) -> None:
    asked = question()
    chat, response = {"model": "demo-fast", "messages": messages(asked)}, {"model": "demo-fast", "input": asked}
    expected = answer("demo-fast", asked)
    code, output = await curl(f"{stack.url}/v1/chat/completions", chat)
    assert (code, json.loads(output)["choices"][0]["message"]["content"]) == (0, expected)
    code, output = await curl(f"{stack.url}/v1/chat/completions", {**chat, "stream": True})
    assert (code, output.endswith("data: [DONE]\n\n")) == (0, True)
    said = [chunk["choices"][0]["delta"].get("content", "") for chunk in payloads(output)]
    assert "".join(said) == expected
    code, output = await curl(f"{stack.url}/v1/responses", {**response, "stream": True})
    assert (code, payloads(output)[-1]["response"]["output"][0]["content"][0]["text"]) == (0, expected)
    code, again = await curl(f"{stack.urls[1]}/v1/responses/{payloads(output)[0]['response']['id']}?stream=true")
    assert (code, again) == (0, output)


@has_curl
async def test_curl_tells_a_stream_that_broke_off(stack: Stack) -> None:
    asked, model = question(), paced(tokens=300, rate=50)
    body = {"model": model, "messages": messages(asked), "stream": True}
    reading = asyncio.create_task(curl(f"{stack.url}/v1/chat/completions", body))
    await (await job_for(stack, model, asked)).says(0.1)
    stack.apis[0].kill()
    code, output = await reading
    assert code == BROKEN
    assert payloads(output)
