"""The journal, and answers that differ by call."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from readalong.testing.journal import Journal
from tests.support.waiting import WITHIN, until
from tests.testing.support import MESSAGES, ask, running, text
from tests.testing.test_process import process


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def test_each_request_and_each_end_of_a_stream_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path) as journal:
        async with running(journal) as server:
            events = await server.events(ask("demo-close-early", demo={"key": "j1", "after": 3}))
            await server.post(ask("demo-429", demo={"key": "j2"}))
            await server.post(ask("demo-not-sse", demo={"key": "j3"}))
            call, refused, page, broken = [line for line in lines_of(path) if line["kind"] == "request"] + [
                line for line in lines_of(path) if line["kind"] == "closed"
            ][:1]
    assert [(line["tag"], line["model"], line["status"]) for line in (call, refused, page)] == [
        ("j1", "demo-close-early", 200),
        ("j2", "demo-429", 429),
        ("j3", "demo-not-sse", 200),
    ]
    assert broken["call"] == call["call"] == events[0]["id"]
    assert (broken["state"], broken["tokens"], broken["text"]) == ("broken", 3, text(events))
    assert call["t"] <= broken["t"] <= refused["t"] <= page["t"]


async def test_the_journal_tells_when_a_client_has_gone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path) as journal:
        async with running(journal) as server:
            async with server.raw(ask("demo-hang", demo={"key": "j1"})):
                await until(lambda: len(lines_of(path)) == 1, "the request")
            await until(lambda: len(lines_of(path)) == 2, "the end")
    request, closed = lines_of(path)
    assert (request["tag"], request["status"]) == ("j1", None)
    assert (closed["call"], closed["state"], closed["text"]) == (request["call"], "gone", "")


async def test_numbered_says_in_each_token_whose_call_it_is() -> None:
    async with running() as server:
        said = [
            text(await server.events(ask("demo-numbered+unicode", demo={"key": key, "tokens": 2})))
            for key in ("j1", "j2", "j1")
        ]
    assert [answer.split("<")[1:][0].split(">")[0] for answer in said] == ["j1.1.1", "j2.1.1", "j1.2.1"]
    assert [answer.split("<")[2].split(">")[0] for answer in said] == ["j1.1.2", "j2.1.2", "j1.2.2"]


async def test_the_process_writes_the_journal_that_it_is_told(tmp_path: Path) -> None:
    """All written lines are there after a SIGKILL."""
    path = tmp_path / "journal"
    async with process("--journal", str(path)) as started, asyncio.timeout(WITHIN), aiohttp.ClientSession() as http:
        assert started.stdout
        url = (await started.stdout.readline()).decode().removeprefix("demo model on ").strip()
        body = {"model": "demo-fast", "messages": MESSAGES, "stream": True, "demo": {"key": "j1"}}
        async with http.post(f"{url}/chat/completions", json=body) as response:
            await response.read()
        await until(lambda: len(lines_of(path)) == 2, "both lines")
        started.kill()
    assert [(line["kind"], line.get("state")) for line in lines_of(path)] == [("request", None), ("closed", "finished")]


@pytest.mark.parametrize("place", ["missing/journal", "."])
async def test_a_journal_that_cannot_be_written_is_one_clear_line_and_exit_code_1(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    async with process("--journal", str(path)) as started, asyncio.timeout(WITHIN):
        out, err = await started.communicate()
    assert (started.returncode, out) == (1, b"")
    assert err.decode().startswith(f"demo model: cannot write {path}: ")
    assert err.count(b"\n") == 1
