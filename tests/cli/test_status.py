"""`readalong status` and `workers`: what is the matter first, on one screen, with an exit code that tells it."""

from __future__ import annotations

import re
import threading

import orjson
import pytest

from tests.cli.conftest import Run
from tests.cli.samples import FIRST, finding, status, worker
from tests.cli.scripted_api import Handler, ScriptedApi, answer
from tests.cli.terminals import in_terminal

STUCK = finding("job_stuck", "warning", job_id=FIRST, title="A job is stuck", since="2026-01-01T11:58:00.000Z")
FULL = finding("redis_full", "critical", title="Redis is full")
SLOW = finding("queue_old", "warning", title="The queue is old")


@pytest.mark.parametrize(
    ("findings", "code"), [([], 0), ([finding("redis_not_persistent", "info")], 0), ([SLOW], 10), ([SLOW, FULL], 11)]
)
def test_the_exit_code_is_the_worst_severity(
    api: ScriptedApi, run: Run, findings: list[dict[str, object]], code: int
) -> None:
    """For people and for scripts alike."""
    api.routes["GET /v1/status"] = answer(200, status(findings=findings))
    assert (run("status").exit_code, run("status", "--json").exit_code) == (code, code)


def test_the_worst_comes_first_and_stuck_jobs_before_others(api: ScriptedApi, run: Run) -> None:
    """Title, age, job, reason, and what to do; then Redis, queue, jobs, workers, and what runs."""
    api.routes["GET /v1/status"] = answer(200, status(findings=[SLOW, STUCK, FULL]))
    lines = run("status").stdout.splitlines()
    titles = [line for line in lines if line.startswith(("critical", "warning"))]
    assert titles == ["critical  Redis is full", "warning   A job is stuck  for 2m00s", "warning   The queue is old"]
    at = lines.index(titles[1])
    assert [line.strip() for line in lines[at + 1 : at + 4]] == [
        FIRST,
        "reason of job_stuck.",
        "→ readalong mend job_stuck",
    ]
    text = "\n".join(lines)
    assert "redis     ok · valkey 9.1.2 · 12 MB of 512 MB · noeviction · AOF · 0.4ms" in text
    assert "queue     12 waiting · 34 kB · the oldest for 2m05s" in text
    assert "jobs      12 queued · 1 running · 1,200 done · 2 failed" in text
    assert "workers   1 alive of 1 · 1 of 100 slots in use" in text
    assert f"{FIRST}     1m00s  worker-1" in text


def test_many_of_one_kind_are_told_once(api: ScriptedApi, run: Run) -> None:
    """A model that is away makes a hundred jobs stuck. The first is told in full, of others the ids, up to a number."""
    stuck = [
        finding("job_stuck", "warning", title="A job is stuck", job_id=f"job-{n}", since="2026-01-01T11:58:00.000Z")
        for n in range(100)
    ]
    api.routes["GET /v1/status"] = answer(200, status(findings=[*stuck, FULL]))
    lines = run("status").stdout.splitlines()
    at = lines.index("warning   A job is stuck (100)  for 2m00s")
    assert [line.strip() for line in lines[at + 1 : at + 10]] == [
        "job-0",
        "reason of job_stuck.",
        "→ readalong mend job_stuck",
        *[f"job-{n}  for 2m00s" for n in range(1, 6)],
        "and 94 more: readalong status --json",
    ]
    assert lines[0] == "critical  Redis is full"


def test_all_is_well_is_said(api: ScriptedApi, run: Run) -> None:
    """Also if there is information, which comes last."""
    api.routes["GET /v1/status"] = answer(200, status(findings=[finding("redis_not_persistent", "info")]))
    shown = run("status").stdout
    assert shown.startswith("all is well\n")
    assert shown.endswith("reason of redis_not_persistent.\n          → readalong mend redis_not_persistent\n")


def test_a_status_of_nulls_is_shown(api: ScriptedApi, run: Run) -> None:
    """While Redis is away the API knows nothing of it."""
    empty = {"now": None, "findings": [FULL], "redis": {"state": "away"}, "queue": None, "jobs": None, "workers": None}
    api.routes["GET /v1/status"] = answer(200, empty)
    result = run("status")
    assert result.exit_code == 11
    assert "redis     away\n" in result.stdout


def test_an_api_that_does_not_answer_is_no_state(api: ScriptedApi, run: Run) -> None:
    """A script can tell it from a finding."""
    api.routes["GET /v1/status"] = answer(502)
    assert run("status").exit_code == 1


def test_a_status_fits_its_terminal(api: ScriptedApi) -> None:
    """80 columns in a real terminal, with every field as long as it gets."""
    many = [worker(f"worker-host-{n}-0123456789", host="a-very-long-host-name-of-a-container") for n in range(3)]
    long = finding("job_stuck", "critical", title="x" * 60, reason="word " * 60, action="do", job_id=FIRST)
    api.routes["GET /v1/status"] = answer(200, status(findings=[long], workers=many))
    with in_terminal("status", READALONG_URL=api.url) as terminal:
        assert terminal.ended() == 11
    assert max(map(len, terminal.text.splitlines())) <= 80
    assert FIRST in terminal.text
    assert "worker-host-2-0123456789  alive" in terminal.text


def test_a_wait_is_seen_and_leaves_no_trace(api: ScriptedApi) -> None:
    """What takes longer than a second says what it waits for."""
    seen = threading.Event()

    def slow(handler: Handler) -> None:
        assert seen.wait(100)
        answer(200, status())(handler)

    api.routes["GET /v1/status"] = slow
    with in_terminal("status", READALONG_URL=api.url) as terminal:
        terminal.until(f"asking {api.url}")
        seen.set()
        assert terminal.ended() == 0
    assert "all is well" in terminal.text


@pytest.mark.parametrize("set_", [True, False])
def test_no_color_is_obeyed(api: ScriptedApi, monkeypatch: pytest.MonkeyPatch, set_: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if set_:
        monkeypatch.setenv("NO_COLOR", "1")
    api.routes["GET /v1/status"] = answer(200, status(findings=[FULL]))
    with in_terminal("status", READALONG_URL=api.url) as terminal:
        assert terminal.ended() == 11
    assert bool(re.search(r"\x1b\[(?:[0-9]+;)*3[0-7]m", terminal.raw)) != set_


def test_workers_are_a_table_with_their_jobs(api: ScriptedApi, run: Run) -> None:
    """State, age, slots and heartbeat of each. The job that runs longest is the first."""
    busy = worker(
        "w-busy",
        slots=2,
        running=[
            {"job_id": "young", "since": "2026-01-01T11:59:50.000Z"},
            {"job_id": "old", "since": "2026-01-01T11:00:00.000Z"},
        ],
    )
    some = [busy, worker("w-dead", alive=False), worker("w-shut", refused="model_unauthorized")]
    api.routes["GET /v1/status"] = answer(200, status(workers=some))
    lines = [line.split() for line in run("workers").stdout.splitlines()]
    assert lines[1][:5] == ["w-busy", "alive", "1h00m", "2/2", "1s"]
    assert lines[2][:2] == ["w-dead", "dead"]
    assert lines[3][:3] == ["w-shut", "refused:", "model_unauthorized"]
    assert lines[5:] == [["job", "runs", "for", "worker"], ["old", "1h00m", "w-busy"], ["young", "10s", "w-busy"]]
    assert [orjson.loads(line) for line in run("workers", "--json").stdout.splitlines()] == some


def test_no_workers_is_said_on_stderr(api: ScriptedApi, run: Run) -> None:
    api.routes["GET /v1/status"] = answer(200, status(workers=[]))
    result = run("workers")
    assert (result.stdout, result.stderr) == ("", "no workers (readalong worker starts one)\n")
