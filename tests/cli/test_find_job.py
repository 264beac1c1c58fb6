"""An id's beginning is enough, if no other id begins so."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Run
from tests.cli.samples import FIRST, SECOND, job
from tests.cli.scripted_api import ScriptedApi, answer, done, stream


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (["cancel", "aaaa0"], f"POST /v1/jobs/{FIRST}/cancel"),
        (["retry", "aaaa0"], f"POST /v1/jobs/{FIRST}/retry"),
        (["show", "aaaa0"], f"GET /v1/jobs/{FIRST}"),
        (["erase", "--yes", "aaaa0"], f"DELETE /v1/jobs/{FIRST}"),
        (["watch", "aaaa0"], f"GET /v1/jobs/{FIRST}/events"),
    ],
)
def test_every_command_takes_a_beginning(api: ScriptedApi, run: Run, words: list[str], call: str) -> None:
    api.routes["GET /v1/jobs"] = answer(200, {"jobs": [job(FIRST)], "next": None})
    api.routes["GET /v1/status"] = answer(403)
    api.routes[call] = stream(done(1)) if call.endswith("/events") else answer(200, job(FIRST))
    assert run(*words).exit_code == 0
    assert api.asked()[0].startswith("/v1/jobs?id=aaaa0&")
    assert call in [f"{method} {path.partition('?')[0]}" for method, path, _, _ in api.requests]


def test_several_candidates_are_listed(api: ScriptedApi, run: Run) -> None:
    """Nothing is done, and it is a misuse."""
    api.routes["GET /v1/jobs"] = answer(200, {"jobs": [job(SECOND, status="running"), job(FIRST)], "next": None})
    result = run("cancel", "aaaa")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[0] == "readalong: several ids begin with 'aaaa':"
    assert [line.split()[:2] for line in lines[1:]] == [[SECOND, "running"], [FIRST, "queued"]]
    assert api.asked("POST") == []


def test_no_candidate_is_no_job(api: ScriptedApi, run: Run) -> None:
    """Also at an API that does not know the parameter, and lists all."""
    api.routes["GET /v1/jobs"] = answer(200, {"jobs": [job(FIRST)], "next": None})
    result = run("cancel", "bbbb")
    assert (result.exit_code, result.stderr) == (4, "readalong: there is no job whose id begins with 'bbbb'\n")


def test_too_short_a_beginning_is_a_misuse(api: ScriptedApi, run: Run) -> None:
    result = run("cancel", "aaa")
    assert result.exit_code == 2
    assert "4 characters or more" in result.stderr
    assert api.requests == []


def test_a_whole_id_costs_no_request(api: ScriptedApi, run: Run) -> None:
    api.routes[f"POST /v1/jobs/{FIRST}/cancel"] = answer(202, {"status": "cancelled"})
    assert run("cancel", FIRST).exit_code == 0
    assert len(api.requests) == 1


def test_a_whole_id_that_begins_another_one_is_that_job(api: ScriptedApi, run: Run) -> None:
    """Ids may be of 16 characters: other programs write jobs, too."""
    whole = FIRST[:16]
    api.routes["GET /v1/jobs"] = answer(200, {"jobs": [job(FIRST), job(whole)], "next": None})
    api.routes[f"POST /v1/jobs/{whole}/cancel"] = answer(202, {"status": "cancelled"})
    assert run("cancel", whole).exit_code == 0
