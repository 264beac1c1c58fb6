"""`readalong ask`: pipes, its place in the queue, and a Ctrl-C that cancels."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.cli.conftest import Run
from tests.cli.samples import FIRST, NOW, job
from tests.cli.scripted_api import Handler, ScriptedApi, answer, done, event, stream, text
from tests.cli.terminals import CTRL_C, in_terminal

EVENTS = f"GET /v1/jobs/{FIRST}/events"
CANCEL = f"POST /v1/jobs/{FIRST}/cancel"


@pytest.fixture
def submits(api: ScriptedApi) -> ScriptedApi:
    """An API that takes the job and answers it at once."""
    api.routes["POST /v1/jobs"] = answer(202, job(FIRST))
    api.routes[EVENTS] = stream(event(1, "queued"), text(2, "Because."), done(3))
    return api


def asked(api: ScriptedApi) -> Any:
    """Returns the question that the API has got."""
    return orjson.loads(next(body for method, _, _, body in api.requests if method == "POST"))["messages"][0]["content"]


def piped(api: ScriptedApi, stdin: Any, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs `readalong ask` with this stdin."""
    command = [sys.executable, "-m", "readalong.cli", "ask", *words]
    variables = {**os.environ, "READALONG_URL": api.url}
    return subprocess.run(
        command, stdin=stdin, env=variables, capture_output=True, text=True, check=False, timeout=100, **options
    )


def test_a_pipe_is_the_question_or_stands_below_it(submits: ScriptedApi) -> None:
    """`git diff | readalong ask 'What does this change?'`."""
    command = [sys.executable, "-m", "readalong.cli", "ask"]
    variables = {**os.environ, "READALONG_URL": submits.url}
    for words, question in (([], "one\ntwo"), (["Sum", "up:"], "Sum up:\n\none\ntwo"), (["-"], "one\ntwo")):
        submits.requests.clear()
        options: Any = {"env": variables, "capture_output": True, "text": True, "timeout": 100}
        ended = subprocess.run([*command, *words], input="one\ntwo\n", check=True, **options)
        assert (ended.stdout, asked(submits)) == ("Because.", question)


def test_a_file_counts_and_dev_null_does_not(submits: ScriptedApi, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("in a file")
    with (tmp_path / "text").open() as file:
        assert piped(submits, file, "Translate").returncode == 0
    assert asked(submits) == "Translate\n\nin a file"
    submits.requests.clear()
    assert piped(submits, subprocess.DEVNULL, "Why?").returncode == 0
    assert asked(submits) == "Why?"


def test_nothing_to_ask_is_a_misuse(submits: ScriptedApi) -> None:
    ended = piped(submits, subprocess.DEVNULL)
    assert (ended.returncode, ended.stderr) == (2, "readalong: the question is empty\n")
    with in_terminal("ask", READALONG_URL=submits.url) as terminal:
        assert terminal.ended() == 2
    assert "pipe one in" in terminal.text
    assert submits.requests == []


def test_events_as_json(submits: ScriptedApi, run: Run) -> None:
    """Each event is a line, with its job and number; stderr stays empty."""
    result = run("ask", "Why?", "--json")
    lines = [orjson.loads(line) for line in result.stdout.splitlines()]
    assert [(line["job"], line["seq"], line["type"]) for line in lines] == [
        (FIRST, 1, "queued"),
        (FIRST, 2, "content"),
        (FIRST, 3, "done"),
    ]
    assert lines[1]["content"] == "Because."
    assert (result.stderr, result.exit_code) == ("", 0)


def test_ctrl_c_cancels_the_job_and_shows_its_end(api: ScriptedApi) -> None:
    """In a real terminal: the end is the job's own, and the exit code that of Ctrl-C."""
    hold = threading.Event()

    def stream_to_the_cancel(handler: Handler) -> None:
        stream(text(1, "so far"), hold=None, drop=True)(handler)
        hold.wait(100)

    def cancel(handler: Handler) -> None:
        api.routes[EVENTS] = stream(event(2, "cancelled", content="so far", by="client", metrics={}))
        hold.set()
        answer(202, {"status": "running"})(handler)

    api.routes.update({"POST /v1/jobs": answer(202, job(FIRST)), EVENTS: stream_to_the_cancel, CANCEL: cancel})
    with in_terminal("ask", "Why?", READALONG_URL=api.url) as terminal:
        terminal.until("so far")
        terminal.press(CTRL_C)
        assert terminal.ended() == 130
    assert f"/v1/jobs/{FIRST}/cancel" in api.asked("POST")
    assert "cancelled by client" in terminal.text
    assert "Traceback" not in terminal.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_it_cancels_too(api: ScriptedApi, number: signal.Signals) -> None:
    """`timeout 10 readalong ask`, and a terminal that is closed."""
    hold = threading.Event()

    def cancel(handler: Handler) -> None:
        hold.set()
        answer(202, {"status": "cancelled"})(handler)

    end = event(2, "cancelled", content="so far", by="client", metrics={})

    def answered(handler: Handler) -> None:
        api.routes[EVENTS] = stream(end)
        stream(text(1, "so far"), hold=hold, drop=True)(handler)

    api.routes.update({"POST /v1/jobs": answer(202, job(FIRST)), CANCEL: cancel, EVENTS: answered})
    with in_terminal("ask", "Why?", READALONG_URL=api.url) as terminal:
        terminal.until("so far")
        terminal.process.send_signal(number)
        assert terminal.ended() == 128 + number
    assert api.asked("POST")[-1].endswith("/cancel")
    assert "cancelled by client" in terminal.text


def test_a_reader_that_goes_away_cancels(api: ScriptedApi) -> None:
    """`readalong ask … | head -1`: the rest would be generated for no one."""
    hold = threading.Event()
    api.routes.update({"POST /v1/jobs": answer(202, job(FIRST)), CANCEL: answer(202, {"status": "running"})})
    api.routes[EVENTS] = stream(*[text(seq, "x" * 1000 + "\n") for seq in range(1, 400)], hold=hold)
    command = [sys.executable, "-m", "readalong.cli", "ask", "Why?"]
    variables = {**os.environ, "READALONG_URL": api.url}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with os.fdopen(writer, "wb") as stdout:
            ended = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=variables,
                check=False,
                timeout=100,
            )
    finally:
        hold.set()
    assert (ended.returncode, ended.stderr) == (141, f"job {FIRST}\n".encode())
    assert api.asked("POST")[-1].endswith("/cancel")


def test_a_second_ctrl_c_does_not_wait_for_the_end(api: ScriptedApi) -> None:
    """The cancel is with the API already."""
    hold = threading.Event()
    api.routes.update({"POST /v1/jobs": answer(202, job(FIRST)), CANCEL: answer(202, {"status": "running"})})
    api.routes[EVENTS] = stream(text(1, "so far"), hold=hold)
    try:
        with in_terminal("ask", "Why?", READALONG_URL=api.url) as terminal:
            terminal.until("so far")
            terminal.press(CTRL_C)
            terminal.until("cancelling")
            terminal.press(CTRL_C)
            assert terminal.ended() == 130
    finally:
        hold.set()
    assert "the cancel is kept" in terminal.text


def test_ctrl_c_during_the_submit_cancels_what_the_api_may_have(api: ScriptedApi) -> None:
    """The response was not there yet. The same key finds the job again."""
    hold, reached = threading.Event(), threading.Event()

    def slow(handler: Handler) -> None:
        api.routes["POST /v1/jobs"] = answer(202, job(FIRST))
        reached.set()
        hold.wait(100)

    api.routes.update({"POST /v1/jobs": slow, CANCEL: answer(202, {"status": "cancelled"})})
    try:
        with in_terminal("ask", "Why?", READALONG_URL=api.url) as terminal:
            assert reached.wait(100)
            terminal.press(CTRL_C)
            assert terminal.ended() == 130
    finally:
        hold.set()
    keys = [headers["idempotency-key"] for _, path, headers, _ in api.requests if path == "/v1/jobs"]
    assert len(keys) == 2
    assert keys[0] == keys[1]
    assert api.asked("POST")[-1].endswith("/cancel")


@pytest.mark.parametrize(("before", "place"), [(0, "place 1"), (3, "place 4")])
def test_a_job_that_waits_tells_its_place(api: ScriptedApi, run: Run, before: int, place: str) -> None:
    """By the jobs that wait and were submitted earlier. When it has started, no more."""
    looked = threading.Event()

    def places(handler: Handler) -> None:
        answer(200, {"jobs": [job(f"job-{n}") for n in range(before)], "next": None})(handler)
        looked.set()

    def waits(handler: Handler) -> None:
        api.routes[EVENTS] = stream(event(2, "started"), text(3, "Because."), done(4))
        stream(event(1, "queued"), hold=looked)(handler)

    api.routes.update({"POST /v1/jobs": answer(202, job(FIRST)), "GET /v1/jobs": places, EVENTS: waits})
    result = run("ask", "Why?")
    assert result.stdout == "Because."
    assert result.stderr.splitlines()[1] == f"waiting: {place} in the queue"
    assert {path for path in api.asked() if "?" in path} == {
        f"/v1/jobs?status=queued&created_before={NOW.replace(':', '%3A')}&limit=200"
    }


def test_without_a_worker_it_says_so(api: ScriptedApi, run: Run) -> None:
    waiting = b'event: waiting\ndata: {"type":"waiting","for":"worker","since":"2026-01-01T00:00:00.000Z"}\n\n'
    api.routes["POST /v1/jobs"] = answer(202, job(FIRST))
    api.routes[EVENTS] = stream(event(1, "queued"), waiting, event(2, "started"), text(3, "Because."), done(4))
    assert "waiting for a worker: none is there (readalong worker starts one)" in run("ask", "Why?").stderr
