"""`readalong doctor` against an API that plays each fault: what is wrong, what to do, and the exit code."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from readalong.cli.doctor import examination, model_checks
from tests.cli.conftest import Run
from tests.cli.samples import FIRST, finding, job, status, worker
from tests.cli.scripted_api import Act, Handler, ScriptedApi, answer, change, stream
from tests.support.servers import RedisServer

JOB = f"GET /v1/jobs/{FIRST}"
DONE = job(
    FIRST,
    status="done",
    content="one, two, three, four, five, six, seven, eight",
    metrics={"chunk_count": 12, "time_to_first_token": 0.2, "total_seconds": 1.0},
)


def now() -> str:
    return datetime.now(UTC).isoformat()


@pytest.fixture
def healthy(api: ScriptedApi, monkeypatch: pytest.MonkeyPatch) -> ScriptedApi:
    """An API with which all is well. Its first job is done, its second one runs until the cancel."""
    monkeypatch.setattr(model_checks, "SLOW_CANCEL", 100.0)  # this machine may be slow
    monkeypatch.setattr(examination, "STREAM_SECONDS", 100.0)
    jobs: list[str] = []

    def submit(handler: Handler) -> None:
        jobs.append("running" if jobs else "done")
        answer(202, job(FIRST))(handler)

    def shown(handler: Handler) -> None:
        answer(200, {**DONE, "status": jobs[-1]})(handler)

    def cancel(handler: Handler) -> None:
        jobs.append("cancelled")
        answer(202, job(FIRST))(handler)

    def well(handler: Handler) -> None:
        answer(200, status(now=now()))(handler)

    api.routes.update(
        {
            "GET /healthz": answer(200, {"status": "ok"}),
            "GET /v1/status": well,
            "GET /v1/changes": stream(change("status", **status())),
            "POST /v1/jobs": submit,
            JOB: shown,
            f"POST /v1/jobs/{FIRST}/cancel": cancel,
            f"DELETE /v1/jobs/{FIRST}": answer(204),
        }
    )
    return api


def checked(run: Run, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Returns the exit code, and the checks by name; of two with one name the last."""
    result = run("doctor", "--json", *words)
    return result.exit_code, {check["name"]: check for check in orjson.loads(result.stdout)["checks"]}


def test_all_is_well(healthy: ScriptedApi, run: Run) -> None:
    """Every check, the model's answer and its cancel among them. The jobs are erased."""
    code, checks = checked(run)
    assert {name: check["result"] for name, check in checks.items()} == {
        "api": "ok",
        "redis": "ok",
        "version": "ok",
        "memory": "ok",
        "disk": "ok",
        "workers": "ok",
        "clock": "ok",
        "streaming": "ok",
        "model": "ok",
        "tokens": "ok",
        "cancel": "ok",
        "redis here": "skipped",
    }
    assert code == 0
    assert healthy.asked("DELETE") == [f"/v1/jobs/{FIRST}"] * 2


def test_each_line_says_what_was_found_and_what_to_do(healthy: ScriptedApi, run: Run) -> None:
    healthy.routes["GET /v1/status"] = answer(200, status(now=now(), workers=[]))
    result = run("doctor")
    lines = result.stdout.splitlines()
    at = lines.index("critical  workers     no worker is alive")
    assert lines[at + 1].strip() == "→ readalong worker starts one"
    assert result.exit_code == 11


def test_without_an_api_there_is_nothing_else_to_try(run: Run) -> None:
    code, checks = checked(run, "--url", "http://127.0.0.1:9")
    assert (code, list(checks)) == (11, ["api", "redis here"])
    assert "readalong api" in checks["api"]["action"]


def test_without_a_status_the_rest_is_tried(healthy: ScriptedApi, run: Run) -> None:
    """A policy may keep it from this caller."""
    healthy.routes["GET /v1/status"] = answer(403, {"detail": "This is for operators."})
    code, checks = checked(run)
    assert (code, checks["status"]["detail"]) == (11, "This is for operators.")
    assert [checks[name]["result"] for name in ("streaming", "model", "cancel")] == ["ok"] * 3


def redis(**fields: Any) -> dict[str, Any]:
    return {"redis": {**status()["redis"], **fields}}


@pytest.mark.parametrize(
    ("fields", "name", "result", "words"),
    [
        (redis(state="away"), "redis", "critical", "does not answer"),
        (redis(state="full"), "redis", "critical", "is full"),
        (redis(state="read_only"), "redis", "critical", "is a replica"),
        (redis(version="6.2.1"), "version", "critical", "6.2.1"),
        (redis(maxmemory_policy="allkeys-lru"), "memory", "critical", "drops jobs"),
        (redis(maxmemory_policy="allkeys-lru", maxmemory_bytes=0), "memory", "warning", "no limit yet"),
        (redis(used_memory_bytes=500_000_000), "memory", "warning", "nearly full"),
        (redis(persistence={"aof": False, "rdb": False}), "disk", "info", "keeps nothing"),
        (redis(persistence={"aof": False, "rdb": True}), "disk", "info", "snapshots alone"),
        ({"workers": [worker("w", alive=False)]}, "workers", "critical", "no worker"),
        ({"workers": [worker("w", refused="model_unauthorized")]}, "workers", "critical", "model_unauthorized"),
        ({"workers": [worker("w", refused="x"), worker("v")]}, "workers", "warning", "1 of 2"),
        ({"findings": [finding("job_stuck", "warning")]}, "job_stuck", "warning", "reason of job_stuck"),
        ({"findings": [finding("redis_full", "critical")]}, "redis_full", None, ""),
    ],
)
def test_each_fault_has_its_name_and_what_to_do(
    healthy: ScriptedApi, run: Run, *, fields: dict[str, Any], name: str, result: str | None, words: str
) -> None:
    """What a check of its own tells is not told twice. A fault that is only information is no failure."""
    healthy.routes["GET /v1/status"] = answer(200, status(now=now(), **fields))
    code, checks = checked(run, "--no-job")
    assert checks.get(name, {}).get("result") == result
    if result is not None:
        assert words in checks[name]["detail"]
        assert checks[name]["action"]
        assert code == {"critical": 11, "warning": 10, "info": 0}[result]


def test_what_to_do_about_redis_is_the_apis_command(healthy: ScriptedApi, run: Run) -> None:
    """It names the socket, say, by which that Redis is reached."""
    told = {
        name: f"Run `redis-cli -s /x {name}`." for name in ("redis_refuses", "redis_evicts", "redis_not_persistent")
    }
    found = [finding(code, "warning", action=action) for code, action in told.items()]
    bad = redis(state="refusing", maxmemory_policy="allkeys-lru", persistence={"aof": False, "rdb": False})
    healthy.routes["GET /v1/status"] = answer(200, status(now=now(), findings=found, **bad))
    _, checks = checked(run, "--no-job")
    assert [checks[name]["action"] for name in ("redis", "memory", "disk")] == list(told.values())


@pytest.mark.parametrize(("hours", "words"), [(-1, "1h00m ahead of"), (1, "behind the server")])
def test_a_clock_that_is_off_is_told(healthy: ScriptedApi, run: Run, hours: int, words: str) -> None:
    there = datetime.now(UTC) + timedelta(hours=hours)
    healthy.routes["GET /v1/status"] = answer(200, status(now=there.isoformat()))
    code, checks = checked(run, "--no-job")
    assert words in checks["clock"]["detail"]
    assert code == 10


FAILED = job(FIRST, status="failed", error={"code": "model_unauthorized", "message": "401"})
ONE_CHUNK = {**DONE, "metrics": {"chunk_count": 1}}


@pytest.mark.parametrize(
    ("shown", "name", "result", "words"),
    [
        (FAILED, "model", "critical", "model_unauthorized"),
        (job(FIRST), "model", "critical", "still waits in the queue"),
        (job(FIRST, status="running"), "model", "critical", "has sent nothing"),
        (job(FIRST, status="running", content="on"), "model", "warning", "not complete"),
        (ONE_CHUNK, "tokens", "warning", "came in one chunk"),
        ({**ONE_CHUNK, "content": "one"}, "tokens", "skipped", "too short"),
        (DONE, "cancel", "skipped", "done before that"),
    ],
)
def test_a_model_that_does_not_do_is_told(
    healthy: ScriptedApi, run: Run, *, shown: dict[str, Any], name: str, result: str, words: str
) -> None:
    """Failed, silent, slow, not streaming."""
    healthy.routes[JOB] = answer(200, shown)
    _, checks = checked(run, "--timeout", "1")
    assert (checks[name]["result"], words in checks[name]["detail"]) == (result, True), checks[name]
    assert set(healthy.asked("DELETE")) == {f"/v1/jobs/{FIRST}"}


def test_a_cancel_that_nothing_obeys_is_told(healthy: ScriptedApi, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_checks, "CANCEL_SECONDS", 0.5)
    healthy.routes[f"POST /v1/jobs/{FIRST}/cancel"] = answer(202, job(FIRST))
    code, checks = checked(run)
    assert (code, checks["cancel"]["result"]) == (11, "critical")
    assert "still runs 0.5 s after its cancel" in checks["cancel"]["detail"]


@pytest.mark.parametrize(
    ("changes", "result", "words"),
    [
        (stream(), "critical", "ended at once"),
        (answer(404, {"detail": "There is nothing at this path."}), "skipped", "nothing at this path"),
    ],
    ids=["empty", "older"],
)
def test_a_stream_that_is_none_is_told(healthy: ScriptedApi, run: Run, changes: Act, result: str, words: str) -> None:
    healthy.routes["GET /v1/changes"] = changes
    _, checks = checked(run, "--no-job")
    assert (checks["streaming"]["result"], words in checks["streaming"]["detail"]) == (result, True)


def test_a_proxy_that_holds_a_stream_back_is_told(
    healthy: ScriptedApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head comes, the first bytes do not."""
    monkeypatch.setattr(examination, "STREAM_SECONDS", 0.5)

    def hold(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.connection.recv(1)

    healthy.routes["GET /v1/changes"] = hold
    code, checks = checked(run, "--no-job")
    assert (code, checks["streaming"]["result"]) == (11, "critical")
    assert "buffers" in checks["streaming"]["detail"]
    assert "proxy_buffering off" in checks["streaming"]["action"]


def test_redis_is_tried_from_here_too(run: Run, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the settings of this environment, whether there is an API or not. The password is not shown."""
    redis_server.command("ACL", "SETUSER", "ada", "on", ">s3cret", "~*", "+@all")
    monkeypatch.setenv("READALONG_REDIS_URL", redis_server.url.replace("redis://", "redis://ada:s3cret@"))
    try:
        result = run("doctor", "--json", "--url", "http://127.0.0.1:9")
    finally:
        redis_server.command("ACL", "DELUSER", "ada")
    checks = {check["name"]: check for check in orjson.loads(result.stdout)["checks"]}
    assert checks["redis here"]["result"] == "ok"
    assert {"version", "memory", "disk"} <= set(checks)
    to_set = checks["disk"]["action"]
    assert (checks["disk"]["result"], to_set.startswith("redis-cli -u 'redis://ada:***@127.0.0.1:")) == ("info", True)
    assert "s3cret" not in result.output


def test_a_redis_that_is_not_there_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READALONG_REDIS_URL", "redis://:s3cret@127.0.0.1:9/0")
    result = run("doctor", "--json", "--url", "http://127.0.0.1:9")
    check = orjson.loads(result.stdout)["checks"][-1]
    assert (check["name"], check["result"]) == ("redis here", "critical")
    assert "s3cret" not in result.output


def test_without_the_servers_packages_the_rest_is_done(
    healthy: ScriptedApi, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base install has no Redis client."""
    monkeypatch.setenv("READALONG_REDIS_URL", "redis://127.0.0.1:9/0")
    monkeypatch.setitem(sys.modules, "redis", None)
    code, checks = checked(run)
    assert (code, checks["redis here"]["result"]) == (0, "skipped")
    assert checks["redis here"]["action"] == "pip install 'readalong[server]'"
