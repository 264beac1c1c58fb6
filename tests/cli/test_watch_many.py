"""`readalong watch` of several jobs at once."""

from __future__ import annotations

import threading

import orjson
import pytest

from tests.cli.conftest import Run
from tests.cli.samples import FIRST, SECOND
from tests.cli.scripted_api import Act, Handler, ScriptedApi, answer, done, event, stream, text
from tests.cli.terminals import CTRL_C, in_terminal

#: The shortest beginnings that tell the two apart, of six characters at least.
ONE, TWO = FIRST[:6], SECOND[:6]


def events_of(job_id: str) -> str:
    return f"GET /v1/jobs/{job_id}/events"


def test_the_lines_of_each_begin_with_its_id(api: ScriptedApi, run: Run) -> None:
    """A line is whole before it is shown: two texts never share one."""
    first_is_over = threading.Event()

    def after_the_first(handler: Handler) -> None:
        assert first_is_over.wait(100)
        stream(text(1, "x\n"), text(2, "y"), done(3))(handler)

    def first(handler: Handler) -> None:
        stream(text(1, "a"), text(2, "b\nc"), done(3))(handler)
        first_is_over.set()

    api.routes.update({events_of(FIRST): first, events_of(SECOND): after_the_first})
    result = run("watch", FIRST, SECOND)
    assert sorted(result.stdout.splitlines()) == [f"{ONE} ab", f"{ONE} c", f"{TWO} x", f"{TWO} y"]
    assert sorted(line[:11] for line in result.stderr.splitlines()) == [f"{ONE} done", f"{TWO} done"]


@pytest.mark.parametrize(
    ("second", "code"),
    [
        (stream(done(1)), 0),
        (stream(event(1, "cancelled", content="")), 3),
        (stream(event(1, "failed", error={"code": "x", "message": "y"})), 1),
        (answer(404, {"detail": "There is no such job."}), 4),
    ],
    ids=["done", "cancelled", "failed", "not found"],
)
def test_the_exit_code_is_the_worst(api: ScriptedApi, run: Run, second: Act, code: int) -> None:
    """One job's error does not end the watching of the other."""
    api.routes.update({events_of(FIRST): stream(text(1, "fine"), done(2)), events_of(SECOND): second})
    result = run("watch", SECOND, FIRST)
    assert result.exit_code == code
    assert f"{ONE} fine" in result.stdout


def test_events_as_json_name_their_job(api: ScriptedApi, run: Run) -> None:
    api.routes.update({events_of(FIRST): stream(done(1)), events_of(SECOND): stream(done(2))})
    lines = [orjson.loads(line) for line in run("watch", FIRST, SECOND, "--json").stdout.splitlines()]
    assert sorted((line["job"], line["seq"]) for line in lines) == [(FIRST, 1), (SECOND, 2)]


def test_a_long_text_without_newlines_is_seen_as_it_comes(api: ScriptedApi) -> None:
    """A terminal's lines are filled, and begin with the id as well."""
    hold = threading.Event()
    api.routes.update({events_of(FIRST): stream(text(1, "word " * 30), hold=hold), events_of(SECOND): stream(done(1))})
    try:
        with in_terminal("watch", FIRST, SECOND, READALONG_URL=api.url, columns=60) as terminal:
            terminal.until(f"{ONE} word word")
            terminal.press(CTRL_C)
            assert terminal.ended() == 130
    finally:
        hold.set()
    lines = [line for line in terminal.text.splitlines() if "word" in line]
    assert len(lines) == 3
    assert all(line.startswith(ONE) and len(line) <= 60 for line in lines)
    assert f"the job goes on. To resume: watch {FIRST} --after 1" in terminal.text


def test_a_position_belongs_to_one_job(run: Run) -> None:
    assert run("watch", FIRST, SECOND, "--after", "3").exit_code == 2
