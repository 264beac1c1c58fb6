"""`python -m readalong.testing` as a process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.waiting import WITHIN
from tests.testing.support import ask


@contextlib.asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "readalong.testing", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_it_prints_one_line_and_exits_with_streams_open(number: signal.Signals) -> None:
    async with process("--port", "0") as started, asyncio.timeout(WITHIN), aiohttp.ClientSession() as http:
        assert started.stdout
        assert started.stderr
        line = (await started.stdout.readline()).decode()
        assert line.startswith("demo model on http://127.0.0.1:")
        assert line.endswith("/v1\n")
        url = line.removeprefix("demo model on ").strip()
        async with contextlib.AsyncExitStack() as stack:
            for model in ("demo", "demo-stall", "demo-endless"):
                body = {**ask(model, demo={"tokens_per_second": 20}), "stream": True}
                response = await stack.enter_async_context(http.post(f"{url}/chat/completions", json=body))
                await response.content.readany()
            started.send_signal(number)
            assert await started.wait() == 0
        assert await started.stdout.read() == b""
        assert await started.stderr.read() == b""


async def test_a_taken_port_is_one_clear_line_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with process("--port", str(port)) as started, asyncio.timeout(WITHIN):
            out, err = await started.communicate()
            assert started.returncode == 1
            assert out == b""
            assert err.decode().startswith(f"demo model: cannot listen on 127.0.0.1:{port}: ")
            assert err.count(b"\n") == 1
