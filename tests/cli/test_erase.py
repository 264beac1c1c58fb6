"""`readalong erase`, `retry` and `cancel` of several jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from readalong.cli.durations import parse_duration
from tests.cli.conftest import Run
from tests.cli.samples import FIRST, SECOND, job, status
from tests.cli.scripted_api import Handler, ScriptedApi, answer, done, stream, text
from tests.cli.terminals import CTRL_C, in_terminal


def erasable(api: ScriptedApi, *ids: str) -> None:
    for job_id in ids:
        api.routes[f"GET /v1/jobs/{job_id}"] = answer(200, job(job_id, status="running"))
        api.routes[f"DELETE /v1/jobs/{job_id}"] = answer(204)


def test_it_asks_first_and_tells_of_jobs_that_run(api: ScriptedApi) -> None:
    """No is the default, and nothing is erased then."""
    erasable(api, FIRST)
    with in_terminal("erase", FIRST, READALONG_URL=api.url) as terminal:
        terminal.until(f"erase {FIRST}; 1 not ended yet, to be cancelled? [y/N]")
        terminal.press(b"\n")
        assert terminal.ended() == 1
    assert api.asked("DELETE") == []
    with in_terminal("erase", FIRST, READALONG_URL=api.url) as terminal:
        terminal.until("[y/N]")
        terminal.press(b"y\n")
        assert terminal.ended() == 0
    assert api.asked("DELETE") == [f"/v1/jobs/{FIRST}"]
    assert terminal.text.endswith("erased 1 of 1\n")


def test_without_a_terminal_it_wants_yes(api: ScriptedApi, run: Run) -> None:
    """A script that forgot it erases nothing."""
    erasable(api, FIRST, SECOND)
    result = run("erase", FIRST)
    assert (result.exit_code, api.asked("DELETE")) == (2, [])
    assert "--yes" in result.stderr
    result = run("erase", "--yes", FIRST, SECOND, "--json")
    assert [orjson.loads(line) for line in result.stdout.splitlines()] == [
        {"id": FIRST, "erased": True},
        {"id": SECOND, "erased": True},
    ]


def test_ended_jobs_by_the_age_of_their_end(api: ScriptedApi, run: Run) -> None:
    """By the server's clock, not by ours: ours may be wrong. A job that ended later stays, however old it is."""
    old = [job(f"old-{n}-0123456789abcdef", ended_at="2026-01-01T10:59:59.000Z") for n in range(3)]
    late = job("late-0123456789abcdefg", ended_at="2026-01-01T11:30:00.000Z")

    def listed(handler: Handler) -> None:
        state = parse_qs(urlsplit(handler.path).query)["status"]
        answer(200, {"jobs": [*old, late] if state == ["failed"] else [], "next": None})(handler)

    api.routes.update({"GET /v1/status": answer(200, status()), "GET /v1/jobs": listed})
    erasable(api, *[one["id"] for one in [*old, late]])
    result = run("erase", "--ended", "--older-than", "1h", "--yes")
    assert (result.exit_code, result.stderr) == (0, "erased 3 of 3\n")
    assert api.asked("DELETE") == [f"/v1/jobs/{one['id']}" for one in old]
    queries = [parse_qs(urlsplit(path).query) for path in api.asked() if path.startswith("/v1/jobs?")]
    assert sorted(query["status"][0] for query in queries) == ["cancelled", "done", "failed"]
    assert {datetime.fromisoformat(query["created_before"][0]) for query in queries} == {
        datetime(2026, 1, 1, 11, tzinfo=UTC)
    }


def test_a_job_that_is_gone_meanwhile_stops_nothing(api: ScriptedApi, run: Run) -> None:
    erasable(api, SECOND)
    api.routes[f"DELETE /v1/jobs/{FIRST}"] = answer(404, {"detail": "gone"})
    result = run("erase", "--yes", FIRST, SECOND)
    assert (result.exit_code, result.stderr) == (0, "erased 1 of 2\n")


def test_an_error_says_how_many_are_erased(api: ScriptedApi, run: Run) -> None:
    erasable(api, FIRST)
    api.routes[f"DELETE /v1/jobs/{SECOND}"] = answer(503, {"detail": "Redis is away."})
    result = run("erase", "--yes", FIRST, SECOND)
    assert (result.exit_code, result.stderr) == (1, "erased 1 of 2\nreadalong: Redis is away.\n")


def test_progress_is_shown_and_ctrl_c_ends_it_between_two_jobs(api: ScriptedApi) -> None:
    erasable(api, FIRST)
    api.routes[f"DELETE /v1/jobs/{SECOND}"] = lambda handler: handler.connection.recv(1) and None
    with in_terminal("erase", "--yes", FIRST, SECOND, READALONG_URL=api.url) as terminal:
        terminal.until("1/2")
        terminal.press(CTRL_C)
        assert terminal.ended() == 130
    assert "erased 1 of 2" in terminal.text


@pytest.mark.parametrize(
    "words", [[], [FIRST, "--ended"], [FIRST, "--older-than", "1h"], ["--ended", "--older-than", "soon"]]
)
def test_a_wrong_choice_is_a_misuse(api: ScriptedApi, run: Run, words: list[str]) -> None:
    assert run("erase", "--yes", *words).exit_code == 2
    assert api.requests == []


def test_durations_are_typed_with_units() -> None:
    assert [parse_duration(word) for word in ("90s", "1.5h", "1h30m", "2d", "1w", "5min")] == [
        90,
        5400,
        5400,
        172_800,
        604_800,
        300,
    ]
    for word in ("", "5", "h", "1h ", "-1h", "1h5"):
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(word)


def test_retry_prints_the_new_ids_and_watches_them(api: ScriptedApi, run: Run) -> None:
    """With --watch stdout is the answer alone."""
    api.routes[f"POST /v1/jobs/{FIRST}/retry"] = answer(202, job(SECOND, retry_of=FIRST))
    api.routes[f"GET /v1/jobs/{SECOND}/events"] = stream(text(1, "Again."), done(2))
    assert run("retry", FIRST).stdout == f"{SECOND}\n"
    assert orjson.loads(run("retry", FIRST, "--json").stdout)["retry_of"] == FIRST
    result = run("retry", FIRST, "--watch")
    assert result.stdout == "Again."
    assert result.stderr.startswith(f"{SECOND}\n")


def test_a_request_that_is_not_kept_is_the_apis_own_sentence(api: ScriptedApi, run: Run) -> None:
    problem = {"code": "request_gone", "detail": "The request is gone; set READALONG_KEEP_REQUEST."}
    api.routes[f"POST /v1/jobs/{FIRST}/retry"] = answer(409, problem)
    result = run("retry", FIRST)
    assert (result.exit_code, result.stderr) == (1, f"readalong: {problem['detail']}\n")


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_what_was_done_before_an_error_is_told(command: str, api: ScriptedApi, run: Run) -> None:
    """The id of a job that runs again would be lost otherwise."""
    api.routes[f"POST /v1/jobs/{FIRST}/{command}"] = answer(202, job(FIRST, status="queued"))
    api.routes[f"POST /v1/jobs/{SECOND}/{command}"] = answer(409, {"code": "job_running", "detail": "No."})
    result = run(command, FIRST, SECOND)
    assert (result.exit_code, result.stderr) == (1, "readalong: No.\n")
    assert result.stdout.startswith(FIRST)


def test_several_are_cancelled_at_once(api: ScriptedApi, run: Run) -> None:
    api.routes[f"POST /v1/jobs/{FIRST}/cancel"] = answer(202, job(FIRST, status="cancelled"))
    api.routes[f"POST /v1/jobs/{SECOND}/cancel"] = answer(202, job(SECOND, status="done"))
    assert run("cancel", FIRST, SECOND).stdout == f"{FIRST}  cancelled\n{SECOND}  done\n"
