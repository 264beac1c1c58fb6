"""Each known deviation of model servers gives the intended result."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from readalong.api.wire.durable_stream import message
from readalong.core.events import Event
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.openai.answer_parser import AnswerParser
from tests.support.json_once import loads_once
from tests.worker.helpers import Backend, settings_for, text_of, working
from tests.worker.model.odd_answers import ALL, DONE, HOLD, HOOT, OWLS, STOP, Oddity, chunk, data, head, say
from tests.worker.model.oddities import ODDITIES

ROOT = Path(__file__).parents[3]
#: Seconds that a model may be silent in a test about silence, and seconds between two signs of life.
GAP, SIGN = 1.5, 0.05

Says = Callable[[str], AsyncIterator[bytes]]


@asynccontextmanager
async def serving(monkeypatch: pytest.MonkeyPatch, answer: Says) -> AsyncIterator[Counter[str]]:
    """Serves responses by the model's name. Yields the number of calls by name."""
    calls: Counter[str] = Counter()
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            top = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", top, re.IGNORECASE)
            assert length is not None
            name = orjson.loads(await reader.readexactly(int(length[1])))["model"]
            calls[name] += 1
            async for piece in answer(name):
                if piece == HOLD:
                    await reader.read()
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            return  # the worker left first
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1")
    async with listener:
        yield calls
    await asyncio.gather(*(task for task in serving if task is not None))


def stand_still() -> None:
    """Blocks the loop, and the worker in it."""
    time.sleep(1.2 * GAP)


def check(oddity: Oddity, events: list[Event]) -> None:
    """Asserts that the events are the expected ones."""
    for event in events:
        loads_once(event.data_with_type())
        loads_once(message(event))
    end = events[-1].fields()
    assert (oddity.name, events[-1].type) == (oddity.name, oddity.end), end.get("error")
    assert (text_of(events), end["content"]) == (oddity.content, oddity.content)
    if oddity.end == "failed":
        assert oddity.says in end["error"]["message"]
        assert end["error"]["code"] == oddity.code
        assert oddity.may_help in (None, end["error"]["retryable"])
    called = [event.fields() for event in events if event.type == "tool_call"]
    assert [(one["name"], one.get("input", one["arguments"])) for one in called] == list(oddity.calls)
    assert end.get("tool_calls", []) == called
    assert oddity.usage in (None, end["usage"])
    said = [event.fields()["content"] for event in events if event.type == "reasoning"]
    assert "".join(said) == oddity.reasoning
    rest = events[2:]
    for place, keep in enumerate(oddity.keeps):
        kind, _, what = keep.rpartition(" ")
        while kind not in ("", rest[0].type) or what not in rest[0].data.decode():
            rest.pop(0)
        rest.pop(0)
        found = sum(event.data.decode().count(what) for event in events[2:])
        assert (place, found) == (place, sum(other.rpartition(" ")[2] == what for other in oddity.keeps))


@pytest.mark.parametrize("kind", ODDITIES)
async def test_what_servers_send_is_read_as_it_is_meant(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """All of them run in one worker at the same time. Each is one call."""
    oddities = {oddity.name: oddity for oddity in ODDITIES[kind]}

    async def answer(name: str) -> AsyncIterator[bytes]:
        for piece in oddities[name].pieces:
            yield piece

    limits = {"stall_timeout": GAP if kind == "said" else 20, "model_retries": 0, "model_patience": 0}
    settings = settings_for(str(backend.settings.redis_url), **limits)
    async with serving(monkeypatch, answer) as calls, working(settings):
        jobs = {name: await backend.submit(name) for name in oddities}
        ended = dict(zip(jobs, await asyncio.gather(*map(backend.ended, jobs.values())), strict=True))
    for name, oddity in oddities.items():
        check(oddity, ended[name])
    assert calls == Counter(dict.fromkeys(oddities, 1))


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("begun", [True, pytest.param(False, marks=pytest.mark.slow)])
async def test_comments_and_empty_chunks_are_signs_of_life_unless_a_setting_says_otherwise(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, begun: bool, counts: bool
) -> None:
    """A thinking model sends them before its first token and between two tokens."""

    async def answer(_: str) -> AsyncIterator[bytes]:
        yield head() + (data(OWLS) if begun else b"")
        until = asyncio.get_running_loop().time() + 1.5 * GAP
        while asyncio.get_running_loop().time() < until or not counts:
            yield b": it thinks\n\n"
            await asyncio.sleep(SIGN)
            yield data(chunk())
        yield ALL if not begun else data(HOOT) + data(STOP) + DONE

    limits: dict[str, Any] = {"stall_timeout": GAP} if begun else {"first_token_timeout": GAP, "stall_timeout": 0}
    settings = settings_for(str(backend.settings.redis_url), model_keepalives=counts, **limits)
    async with serving(monkeypatch, answer), working(settings):
        events = await backend.ended(await backend.submit("m"))
    if counts:
        assert (events[-1].type, text_of(events)) == ("done", "Owls hoot")
    else:
        error = events[-1].fields()["error"]
        assert error["code"] == ("model_stalled" if begun else "model_timeout")


async def test_a_worker_that_stood_still_itself_does_not_call_its_model_silent(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that came meanwhile are read before the time-out counts."""

    async def answer(_: str) -> AsyncIterator[bytes]:
        yield head() + data(OWLS)
        await said.wait()
        stand_still()
        yield data(HOOT)
        yield data(STOP) + DONE

    said = asyncio.Event()
    settings = settings_for(str(backend.settings.redis_url), stall_timeout=GAP)
    async with serving(monkeypatch, answer), working(settings):
        job_id = await backend.submit("m")
        await backend.has(job_id, "content")
        said.set()
        events = await backend.ended(job_id)
    assert (events[-1].type, text_of(events)) == ("done", "Owls hoot")


def test_a_line_of_a_stream_may_have_64_mib_as_a_picture_may_be_one() -> None:
    picture = "A" * 50_000_000
    answer = AnswerParser(ChunkAccumulator())
    line = data(say(picture))
    events = [event for at in range(0, len(line), 65_536) for event in answer.feed(line[at : at + 65_536])]
    assert (answer.failure, len(events), events[0].fields["content"] == picture) == (None, 1, True)
    answer.feed(b"data: " + b"A" * 67_108_865)
    assert answer.failure is not None


def test_the_docs_have_a_row_for_each_kind() -> None:
    """It has no row for a kind without a test."""
    table = (ROOT / "docs" / "models.md").read_text().partition("## What is understood")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| \*\*(.+?)\*\* \|", table, re.MULTILINE)
    assert rows == list(ODDITIES)
