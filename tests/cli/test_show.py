"""`readalong show`: a job's state and timeline, and the lines of redis-cli that show the same."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from readalong.cli.render.sparkline import rates, sparkline
from tests.cli.conftest import Run
from tests.cli.samples import FIRST, NOW, job, status
from tests.cli.scripted_api import ScriptedApi, answer
from tests.cli.terminals import in_terminal

WORKER = {"id": "worker-1", "host": "host-1", "pid": 4711}


def step(at: str, what: str, **fields: Any) -> dict[str, Any]:
    return {"at": f"2026-01-01T{at}Z", "what": what, "attempt": None, "worker": None, "reason": None, **fields}


ENDED = job(
    FIRST,
    status="failed",
    attempt=2,
    ended_at="2026-01-01T12:01:10.000Z",
    content="the secret answer",
    request={"messages": [{"role": "user", "content": "the secret question"}]},
    worker=WORKER,
    error={"code": "model_cut", "message": "The model closed the stream early.", "retryable": True},
    metadata={"tenant": "acme"},
    retry_of="an-older-job",
    cost={"amount": 0.0031, "currency": "USD"},
    timeline=[
        step("12:00:00", "submitted"),
        step("12:00:01", "started", attempt=1, worker=WORKER),
        step("12:00:33", "restarted", attempt=2, worker=WORKER, reason="worker_lost"),
        step("12:01:10", "ended", attempt=2, reason="model_cut"),
    ],
    progress=[[0, 0], [10, 100], [20, 400]],
)


def test_state_timeline_and_numbers(api: ScriptedApi, run: Run) -> None:
    """The texts of the user and of the model are not shown."""
    api.routes.update({f"GET /v1/jobs/{FIRST}": answer(200, ENDED), "GET /v1/status": answer(403)})
    lines = run("show", FIRST).stdout.splitlines()
    assert api.asked()[0] == f"/v1/jobs/{FIRST}?include=timeline"
    facts = dict(line.split(maxsplit=1) for line in lines[:10])
    assert facts["status"] == "failed"
    assert facts["error"] == "The model closed the stream early. (model_cut; a new job may succeed)"
    assert facts["age"].endswith(f"since {NOW}; took 1m10s")
    assert (facts["metadata"], facts["cost"], facts["retry_of"]) == ("tenant=acme", "0.0031 USD", "an-older-job")
    steps = [line.split()[:4] for line in lines if line.strip().startswith("+")]
    assert steps == [
        ["+0s", "submitted", "2026-01-01T12:00:00Z"],
        ["+1s", "started", "1", "worker-1"],
        ["+33s", "restarted", "2", "worker_lost"],
        ["+1m10s", "ended", "2", "model_cut"],
    ]
    assert "tokens/s over 20s: 400 tokens, up to 30.0/s" in lines
    assert "secret" not in "\n".join(lines)


def test_content_is_shown_when_asked_for(api: ScriptedApi, run: Run) -> None:
    """A pipe gets the answer alone."""
    api.routes[f"GET /v1/jobs/{FIRST}"] = answer(200, ENDED)
    assert run("show", FIRST, "--content").stdout == "the secret answer\n"
    assert orjson.loads(run("show", FIRST, "--json").stdout) == ENDED


@pytest.mark.parametrize(("state", "lines"), [("running", 4), ("done", 2)])
def test_the_lines_of_redis_cli_reach_the_redis_of_the_api(api: ScriptedApi, run: Run, state: str, lines: int) -> None:
    """Those that follow and cancel are of use while the job runs."""
    api.routes["GET /v1/status"] = answer(200, status(redis={"prefix": "mine", "cli": "redis-cli -s /a"}))
    api.routes[f"GET /v1/jobs/{FIRST}"] = answer(200, job(FIRST, status=state))
    found = [line for line in run("show", FIRST).stdout.splitlines() if line.startswith("redis-cli -s /a ")]
    assert len(found) == lines
    assert all(f"'mine:job:{{{FIRST}}}" in line for line in found)


@pytest.mark.parametrize("progress", [None, [], [[0, 0]], [[0.01, 0], [0.01, 9]], [[3, 1], [2, 2]], [["a", 1], 5]])
def test_a_progress_without_a_duration_is_no_plot(api: ScriptedApi, run: Run, progress: object) -> None:
    """A fast model has sent everything within one moment."""
    api.routes["GET /v1/status"] = answer(200, status())
    api.routes[f"GET /v1/jobs/{FIRST}"] = answer(200, {**ENDED, "progress": progress})
    result = run("show", FIRST)
    assert result.exit_code == 0
    assert "tokens/s over" not in result.stdout


def test_a_job_fits_its_terminal(api: ScriptedApi) -> None:
    """But for the lines that are to be copied: they are never folded by us."""
    api.routes["GET /v1/status"] = answer(200, status())
    api.routes[f"GET /v1/jobs/{FIRST}"] = answer(200, {**ENDED, "metadata": {f"key-{n}": "value" for n in range(16)}})
    with in_terminal("show", FIRST, READALONG_URL=api.url, columns=60) as terminal:
        assert terminal.ended() == 0
    lines = terminal.text.splitlines()
    assert max(len(line) for line in lines if not line.startswith("redis-cli")) <= 60
    assert any("+1m10s  ended" in line for line in lines)


def test_a_plot_shows_rates_and_never_hides_a_small_one() -> None:
    assert rates([(0, 0), (10, 100), (20, 400)], 4) == [10, 10, 30, 30]
    assert rates([(0, 0)], 4) == rates([(5, 1), (5, 2)], 4) == []
    assert sparkline([0, 1, 100, 50], 10) == "▁▂█▅"
    assert sparkline([0, 0], 10) == "▁▁"
    assert sparkline([1, 2, 3], 2) == "▆█"
