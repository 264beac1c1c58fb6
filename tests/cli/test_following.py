"""`readalong jobs --follow`: the newest jobs, and a line for each change."""

from __future__ import annotations

import threading

import orjson

from tests.cli.conftest import Run
from tests.cli.samples import FIRST, SECOND, job
from tests.cli.scripted_api import ScriptedApi, answer, change, stream
from tests.cli.terminals import CTRL_C, in_terminal

ENDED = {"status": "done", "attempt": 1, "ended_at": "2026-01-01T12:00:05.000Z"}


def test_a_line_for_each_change_of_a_job(api: ScriptedApi) -> None:
    """The newest job is the last; the same state is not told twice; a job that was erased is told."""
    hold = threading.Event()
    api.routes["GET /v1/jobs"] = answer(200, {"jobs": [job(SECOND), job(FIRST)], "next": None})
    api.routes["GET /v1/changes"] = stream(
        change("status", findings=[]),
        change("job", **job(SECOND)),
        change("job", **job(FIRST, status="running", attempt=1)),
        change("job", **job(FIRST, **ENDED)),
        change("erased", id=FIRST),
        hold=hold,
    )
    try:
        with in_terminal("jobs", "--follow", READALONG_URL=api.url) as terminal:
            terminal.until("erased")
            terminal.press(CTRL_C)
            assert terminal.ended() == 130
    finally:
        hold.set()
    lines = [line.split() for line in terminal.text.splitlines()]
    assert [line[:2] for line in lines[:6]] == [
        ["job", "status"],
        [FIRST, "queued"],
        [SECOND, "queued"],
        [FIRST, "running"],
        [FIRST, "done"],
        [FIRST, "erased"],
    ]
    assert lines[4][2] == "5s"
    assert max(map(len, terminal.text.splitlines())) <= 80


def test_what_changed_without_a_connection_is_in_the_list(api: ScriptedApi, run: Run) -> None:
    """The stream has no positions. After a reconnect the list is read again, and only what is new is shown."""
    first = answer(200, {"jobs": [job(FIRST)], "next": None})
    second = answer(200, {"jobs": [job(SECOND), job(FIRST, **ENDED)], "next": None})
    over = answer(410, {"detail": "It is over."})
    api.acts += [stream(drop=True), first, answer(503), stream(), second, over]
    result = run("jobs", "--follow", "--json")
    lines = [orjson.loads(line) for line in result.stdout.splitlines()]
    assert [(line["id"], line["status"]) for line in lines] == [(FIRST, "queued"), (FIRST, "done"), (SECOND, "queued")]
    assert (result.exit_code, result.stderr) == (4, "readalong: It is over.\n")


def test_filters_go_to_the_list_and_to_the_stream(api: ScriptedApi, run: Run) -> None:
    empty = answer(200, {"jobs": [], "next": None})
    api.acts += [stream(), empty, answer(400, {"detail": "no"})]
    run("jobs", "-f", "--model", "m", "--thread", "t", "--status", "failed", "--metadata", "user=ada")
    filters = "status=failed&model=m&thread=t&metadata.user=ada"
    assert api.asked()[:2] == [f"/v1/changes?{filters}", f"/v1/jobs?limit=20&{filters}"]


def test_a_pair_without_a_value_is_a_misuse(run: Run) -> None:
    assert run("jobs", "--metadata", "user").exit_code == 2


def test_an_older_api_says_that_it_has_no_changes(api: ScriptedApi, run: Run) -> None:
    api.acts.append(answer(404, {"detail": "There is nothing at this path."}))
    result = run("jobs", "--follow")
    assert (result.exit_code, result.stderr) == (4, "readalong: There is nothing at this path.\n")
