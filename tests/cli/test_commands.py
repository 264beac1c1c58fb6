"""`readalong jobs`, `cancel`, `settings`, `--version` and bad settings."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest

from readalong import __version__
from readalong.cli.model_env import describe_model, has_model
from readalong.cli.render.metrics import age, seconds, short, size
from readalong.core.settings import Settings
from tests.cli.conftest import Run
from tests.cli.samples import job
from tests.cli.scripted_api import ScriptedApi, answer

JOB = "abcdefghijklmnopqrstuv"
KEYS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "OPENAI_API_VERSION")


def test_jobs_are_a_table(api: ScriptedApi, run: Run) -> None:
    """A row a job: id, status, age, model, the error's code, attempt, first token, rate, events, the error's words."""
    metrics = {"time_to_first_token": 0.5, "tokens_per_second": 31.25}
    error = {"code": "model_cut", "message": "It [b]broke\x1b off.", "retryable": False}
    rows = [job("waits"), job("broke", status="failed", attempt=2, last_seq=77, metrics=metrics, error=error)]
    api.acts.append(answer(200, {"jobs": rows, "next": None}))
    result = run("jobs")
    assert result.exit_code == 0
    head, first, second = (" ".join(line.split()) for line in result.stdout.splitlines())
    assert head == "job status age model error attempt first token tokens/s events message"
    assert first.startswith("waits queued ")
    assert first.endswith(" demo 0 - - 1")
    assert second.startswith("broke failed ")
    assert second.endswith(" demo model_cut 2 0.50s 31.2 77 It [b]broke␛ off.")


def test_jobs_are_fetched_page_by_page(api: ScriptedApi, run: Run) -> None:
    """--limit beyond a page follows `next`; --status goes along; --json is one job a line."""
    api.acts += [
        answer(200, {"jobs": [job(f"a{n}") for n in range(200)], "next": "/v1/jobs?before=x%2By&limit=200"}),
        answer(200, {"jobs": [job(f"b{n}") for n in range(20)], "next": "/v1/jobs?before=z"}),
    ]
    result = run("jobs", "--limit", "220", "--status", "queued", "--json")
    names = [orjson.loads(line)["id"] for line in result.stdout.splitlines()]
    assert names == [f"a{n}" for n in range(200)] + [f"b{n}" for n in range(20)]
    assert [path for _, path, _, _ in api.requests] == [
        "/v1/jobs?limit=200&status=queued",
        "/v1/jobs?limit=20&status=queued&before=x%2By",
    ]


def test_no_jobs_is_said_on_stderr(api: ScriptedApi, run: Run) -> None:
    """An empty list leaves stdout empty."""
    api.acts.append(answer(200, {"jobs": [], "next": None}))
    result = run("jobs")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no jobs\n")


def test_an_error_is_its_detail(api: ScriptedApi, run: Run) -> None:
    """Problem details become one line; an error page of a proxy becomes its status."""
    api.acts += [answer(422, {"code": "invalid_request", "detail": "status: no such state"}), answer(502)]
    assert run("jobs", "--status", "odd").stderr == "readalong: status: no such state\n"
    result = run("jobs")
    assert result.exit_code == 1
    assert result.stderr == f"readalong: {api.url} answered 502 Bad Gateway\n"


def test_cancel_prints_the_status(api: ScriptedApi, run: Run) -> None:
    """The status is on stdout. A note reports that the cancel of a running job is kept."""
    api.acts += [
        answer(202, {"status": "cancelled"}),
        answer(202, {"status": "running"}),
        answer(404, {"detail": "no"}),
    ]
    result = run("cancel", JOB)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "cancelled\n", "")
    assert api.requests[0][:2] == ("POST", f"/v1/jobs/{JOB}/cancel")
    result = run("cancel", JOB)
    assert result.stdout == "running\n"
    assert "the cancel is kept" in result.stderr
    assert run("cancel", JOB).exit_code == 4


def test_a_trailing_slash_and_a_base_path_are_kept(api: ScriptedApi, run: Run) -> None:
    """The API may be below a path of a proxy."""
    api.acts.append(answer(202, {"status": "done"}))
    run("cancel", JOB, "--url", f"{api.url}/below/")
    assert api.requests[0][1] == f"/below/v1/jobs/{JOB}/cancel"


def test_loopback_is_reached_without_a_proxy(api: ScriptedApi, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY does not apply to 127.0.0.1."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    api.acts.append(answer(202, {"status": "done"}))
    assert run("cancel", JOB).exit_code == 0


def test_settings_shows_every_setting(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field of Settings has a row with its variable, its description and its present value."""
    monkeypatch.setenv("READALONG_LEASE", "7.5")
    result = run("settings")
    assert result.exit_code == 0
    for name, info in Settings.model_fields.items():
        (row,) = [line for line in result.stdout.splitlines() if line.startswith(f"READALONG_{name.upper()} ")]
        assert info.description is not None
        assert info.description in row
    assert "7.5" in result.stdout


def test_settings_as_json_is_complete(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """--json gives value, default and description of each."""
    monkeypatch.setenv("READALONG_MAX_JOBS", "3")
    known = orjson.loads(run("settings", "--json").stdout)
    rows = {row["name"]: row for row in known["settings"]}
    assert rows["READALONG_MAX_JOBS"] == {
        "name": "READALONG_MAX_JOBS",
        "value": 3,
        "default": 100,
        "description": Settings.model_fields["max_jobs"].description,
    }
    assert len(rows) == len(Settings.model_fields)


def test_no_secret_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password of Redis and the model's key appear nowhere, nor do those within URLs."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("READALONG_REDIS_URL", "redis://me:s3cret@example.invalid:6379/0")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-s3cret")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://u:s3cret@gateway.invalid/v1?key=s3cret")
    for words in (["settings"], ["settings", "--json"]):
        out = run(*words).output
        assert "s3cret" not in out
        assert "redis://me:***@example.invalid:6379/0" in out
        assert "https://gateway.invalid/v1?***" in out


def test_the_way_to_the_model_is_told() -> None:
    """Azure's endpoint wins, as in the worker. An empty variable is not set."""
    assert describe_model({})["via"] == "nothing"
    assert describe_model({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"})["via"] == "openai"
    azure = describe_model(
        {"AZURE_OPENAI_ENDPOINT": "https://x.invalid", "AZURE_OPENAI_API_KEY": "k", "OPENAI_API_KEY": "k"}
    )
    assert azure == {
        "via": "azure",
        "AZURE_OPENAI_ENDPOINT": "https://x.invalid",
        "AZURE_OPENAI_API_KEY": "set",
        "OPENAI_API_VERSION": "not set",
    }
    assert has_model({"AZURE_OPENAI_API_KEY": "k"})
    assert not has_model({"OPENAI_API_KEY": ""})


@pytest.mark.parametrize("command", ["settings", "demo", "api", "worker"])
def test_a_bad_setting_stops_the_start(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """One line that names the variable and not its value, exit code 2, no traceback."""
    monkeypatch.setenv("READALONG_LEASE", "s3cret")
    result = run(command)
    assert result.exit_code == 2
    assert result.stderr.startswith("readalong: READALONG_LEASE: ")
    assert result.stderr.count("\n") == 1
    assert "s3cret" not in result.output


def test_version_is_the_packages(run: Run) -> None:
    """--version needs no command."""
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"readalong {__version__}\n")


def test_durations_are_words() -> None:
    """Each size of duration has its units. A value that is not a number is a dash."""
    known = {0.5: "0.50 s", 59.9: "59.9 s", 60: "1 min 0 s", 3599.9: "1 h 0 min", 7260: "2 h 1 min", 180_000: "2 d 2 h"}
    assert {value: seconds(value) for value in known} == known
    assert seconds(None) == seconds(True) == seconds("1") == "-"


def test_times_of_tables_are_short() -> None:
    known = {0: "0s", 0.0004: "0.4ms", 0.5: "0.50s", 3: "3s", 9.91: "9.9s", 59: "59s", 125: "2m05s", 11_400: "3h10m"}
    known[187_200] = "2d04h"
    assert {value: short(value) for value in known} == known
    assert short(None) == short(True) == "-"


def test_ages_are_from_now() -> None:
    """An age is counted to now, or to a time, and never negative. A value that is not a time is a dash."""
    minute = "2026-01-01T00:01:00Z"
    assert age("2026-01-01T00:00:00.000Z", minute) == "1m00s"
    assert age("2026-01-01T00:02:00.000Z", minute) == "0s"
    assert age("yesterday", minute) == age(None, minute) == age("2026-01-01T00:00:00", minute) == "-"
    assert age(datetime.now(UTC).isoformat()).endswith("s")


def test_sizes_are_round() -> None:
    known = {0: "0 B", 999: "999 B", 1500: "1.5 kB", 34_000: "34 kB", 2_500_000_000: "2.5 GB", 3e12: "3.0 TB"}
    assert {value: size(value) for value in known} == known
    assert size(None) == "-"
