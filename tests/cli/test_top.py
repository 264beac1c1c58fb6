"""`readalong top` in a real terminal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
import pytest

from tests.cli.conftest import Run
from tests.cli.samples import FIRST, finding, stats, status, worker
from tests.cli.scripted_api import Handler, ScriptedApi, answer, change, stream
from tests.cli.terminals import CTRL_C, in_terminal

_ALTERNATE, _NORMAL = "\x1b[?1049h", "\x1b[?1049l"


@contextmanager
def watched(api: ScriptedApi) -> Iterator[threading.Event]:
    """An API whose stream of changes is quiet at first, and tells of a stuck job once the event is set."""
    hold = threading.Event()
    stuck = finding("job_stuck", "critical", title="A job is stuck", job_id=FIRST)
    api.routes["GET /v1/status"] = answer(200, status())
    api.routes["GET /v1/stats"] = answer(200, stats())

    def changes(handler: Handler) -> None:
        hold.wait(100)
        api.routes["GET /v1/status"] = answer(200, status(findings=[stuck]))
        api.routes["GET /v1/changes"] = stream(hold=over)
        stream(change("status", **status(findings=[stuck])), hold=over)(handler)

    over = threading.Event()
    api.routes["GET /v1/changes"] = changes
    try:
        yield hold
    finally:
        hold.set()
        over.set()


@pytest.mark.parametrize("key", [b"q", CTRL_C, b"\x1b"], ids=["q", "Ctrl-C", "Escape"])
def test_it_follows_what_changes_and_leaves_the_terminal_as_it_was(api: ScriptedApi, key: bytes) -> None:
    """Queue, rates, errors, workers and jobs; a finding comes to the top. Its end is no failure."""
    with watched(api) as hold, in_terminal("top", READALONG_URL=api.url) as terminal:
        terminal.until(FIRST)
        for part in ("12 waiting", "jobs/min          30", "tokens/s       100.0", "model_cut 3", "worker-1  alive"):
            assert part in terminal.text
        assert "A job is stuck" not in terminal.text
        hold.set()
        terminal.until("critical  A job is stuck")
        terminal.press(key)
        assert terminal.ended() == 0
    assert terminal.raw.index(_ALTERNATE) < terminal.raw.rindex(_NORMAL)
    assert "Traceback" not in terminal.text


def test_a_smaller_terminal_is_filled_and_not_more(api: ScriptedApi) -> None:
    """Also one that is made smaller while it runs. What is worst stays."""
    many = [worker(f"worker-{n}") for n in range(30)]
    worst = finding("redis_full", "critical", title="Redis is full", reason="word " * 50)
    api.routes["GET /v1/status"] = answer(200, status(workers=many, findings=[worst]))
    api.routes["GET /v1/stats"] = answer(200, stats())
    hold = threading.Event()
    api.routes["GET /v1/changes"] = stream(hold=hold)
    try:
        with in_terminal("top", READALONG_URL=api.url, columns=80, rows=24) as terminal:
            terminal.until("worker-0")
            terminal.resize(40, 8)
            seen = len(terminal.raw)
            terminal.until("Redis is full")
            while terminal.raw[seen:].count("\x1b[H") < 4:
                terminal.process.poll()
            terminal.press(b"q")
            assert terminal.ended() == 0
    finally:
        hold.set()
    frame = terminal.text.split("readalong top")[-2].splitlines()
    assert len(frame) <= 8
    assert max(map(len, frame[1:])) <= 40
    assert any("Redis is full" in line for line in frame)


def test_without_a_terminal_it_is_shown_once(api: ScriptedApi, run: Run) -> None:
    """A pipe gets one screen; --json what it is made of."""
    api.routes["GET /v1/status"] = answer(200, status())
    api.routes["GET /v1/stats"] = answer(200, stats())
    assert "12 waiting" in run("top").stdout
    assert orjson.loads(run("top", "--json").stdout) == {"status": status(), "stats": stats()}


def test_without_an_api_the_screen_does_not_begin(run: Run) -> None:
    with in_terminal("top", "--url", "http://127.0.0.1:9") as terminal:
        assert terminal.ended() == 1
    assert "no API at" in terminal.text
    assert _ALTERNATE not in terminal.raw


def test_an_api_that_goes_away_is_told_on_the_screen(api: ScriptedApi) -> None:
    """The last numbers stay until it is back, or gone for good."""
    api.routes["GET /v1/status"] = answer(200, status())
    api.routes["GET /v1/stats"] = answer(200, stats())
    api.routes["GET /v1/changes"] = answer(503)
    with in_terminal("top", READALONG_URL=api.url) as terminal:
        terminal.until("is not available; trying again for 60 s")
        api.routes["GET /v1/changes"] = answer(410, {"detail": "It is over."})
        assert terminal.ended() == 4
    assert "It is over." in terminal.text
