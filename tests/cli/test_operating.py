"""The commands against a real API, worker, model and Valkey, in real terminals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import orjson
import pytest

from readalong.cli.doctor import examination, model_checks
from tests.cli.conftest import Run
from tests.cli.processes import wait_for
from tests.cli.terminals import CTRL_C, InTerminal, in_terminal
from tests.cli.test_server_extra import SERVER_MODULES
from tests.support.nginx import nginx, nginx_binary
from tests.support.stack import Stack

SETTINGS = {
    "READALONG_KEEP_REQUEST": "true",
    "READALONG_PROVIDERS": "deaf=tests.cli.providers:deaf,stands-still=tests.cli.providers:stands_still",
}


@pytest.fixture(scope="module")
def started() -> Iterator[Stack]:
    with Stack(settings=SETTINGS) as stack:
        yield stack


@pytest.fixture
def stack(started: Stack, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A whole stack, which the commands find in READALONG_URL."""
    started.heal()
    monkeypatch.setenv("READALONG_URL", started.url)
    return started


def job_of(terminal: InTerminal) -> str:
    """Returns the id that `ask` has shown."""
    terminal.until("job ")
    wait_for(lambda: re.search(r"job [\w-]{22}\n", terminal.text))
    found = re.search(r"job ([\w-]{22})\n", terminal.text)
    assert found is not None
    return found[1]


def result_of(stack: Stack, run: Run, name: str, *words: str) -> tuple[int, str]:
    """Returns the exit code of the doctor, and the result of its newest check of this name."""
    result = run("doctor", "--json", *words)
    found = [check["result"] for check in orjson.loads(result.stdout)["checks"] if check["name"] == name]
    assert found, f"{result.stdout}\n{stack.report()}"
    return result.exit_code, found[-1]


def test_ctrl_c_in_ask_closes_the_models_stream(stack: Stack, run: Run) -> None:
    """The generation ends with the person's wish, not with its last token."""
    with in_terminal("ask", "Ctrl-C?", "--model", "demo-endless") as terminal:
        job = job_of(terminal)
        terminal.until("your question")
        terminal.press(CTRL_C)
        assert terminal.ended() == 130
    assert "cancelled by client" in terminal.text
    assert orjson.loads(run("show", job, "--json").stdout)["status"] == "cancelled"
    wait_for(lambda: [one["state"] for one in stack.generations("Ctrl-C?")] == ["gone"])


def test_a_job_is_followed_shown_run_again_and_erased(stack: Stack, run: Run) -> None:
    """By the beginnings of its id."""
    with in_terminal("jobs", "--follow") as following:
        following.until("job ")
        asked = run("ask", "What?", "--model", "demo-length")
        assert asked.exit_code == 0
        job = re.search(r"job (\S+)", asked.stderr)
        assert job is not None
        following.until(f"{job[1]}  done")
        # A state that lasts for a moment may be passed over.
        assert re.search(f"{job[1]}  running .*{job[1]}  done", following.text, re.DOTALL)
        shown = run("show", job[1][:8]).stdout
        steps = re.findall(r"^ *\+\S+ +([a-z ]+?)(?:  |$)", shown, re.MULTILINE)
        assert steps == ["submitted", "started", "first token", "ended"]
        again = run("retry", job[1][:8], "--watch")
        assert (again.exit_code, again.stdout) == (0, asked.stdout)
        assert run("erase", "--yes", job[1][:8]).exit_code == 0
        following.until(f"{job[1]}  erased")
        following.press(CTRL_C)
        assert following.ended() == 130
    assert run("show", job[1]).exit_code == 4
    erased = run("erase", "--ended", "--yes")
    assert erased.stderr == "erased 1 of 1\n"


def test_top_shows_a_job_that_runs(stack: Stack) -> None:
    with in_terminal("ask", "Slowly", "--model", "demo-endless") as asking, in_terminal("top", columns=100) as top:
        job = job_of(asking)
        top.until(job)
        asking.press(CTRL_C)
        assert asking.ended() == 130
        top.press(b"q")
        assert top.ended() == 0


def test_without_a_worker_ask_and_status_say_so(stack: Stack, run: Run) -> None:
    """And what to do; a job that waits is cancelled all the same."""
    stack.workers[0].kill()
    wait_for(lambda: run("status").exit_code == 11)
    assert "No worker" in run("status").stdout
    with in_terminal("ask", "Anyone?") as terminal:
        terminal.until("waiting for a worker: none is there (readalong worker starts one)")
        terminal.until("place 1 in the queue")
        terminal.press(CTRL_C)
        assert terminal.ended() == 130
    assert "cancelled by client" in terminal.text
    assert result_of(stack, run, "model") == (11, "skipped")


def test_the_doctor_finds_a_healthy_stack_healthy(stack: Stack, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own two jobs, which are gone afterwards."""
    monkeypatch.setenv("READALONG_REDIS_URL", stack.redis.url)
    monkeypatch.setattr(model_checks, "SLOW_CANCEL", 100.0)  # this machine may be slow
    monkeypatch.setattr(model_checks, "CANCEL_SECONDS", 100.0)
    monkeypatch.setattr(examination, "STREAM_SECONDS", 100.0)
    result = run("doctor", "--model", "demo", "--json")
    checks = {check["name"]: check["result"] for check in orjson.loads(result.stdout)["checks"]}
    assert {name for name, found in checks.items() if found not in ("ok", "info")} == set(), result.stdout
    assert {"streaming", "model", "tokens", "cancel", "redis here"} <= set(checks)
    assert result.exit_code == 0
    assert run("jobs").stderr == "no jobs\n"


def test_the_doctor_finds_a_model_that_hangs(stack: Stack, run: Run) -> None:
    assert result_of(stack, run, "model", "--model", "demo-hang", "--timeout", "1") == (11, "critical")


@pytest.mark.slow
def test_the_doctor_finds_a_model_that_ignores_its_end(stack: Stack, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its job ends without it, late."""
    monkeypatch.setattr(model_checks, "CANCEL_SECONDS", 100.0)
    assert result_of(stack, run, "cancel", "--model", "deaf") == (10, "warning")


@pytest.mark.slow
def test_the_doctor_finds_a_model_that_blocks_its_worker(
    stack: Stack, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_checks, "CANCEL_SECONDS", 3.0)
    assert result_of(stack, run, "cancel", "--model", "stands-still") == (11, "critical")


@pytest.mark.skipif(nginx_binary() is None, reason="needs nginx")
@pytest.mark.parametrize(
    ("more", "seconds", "result", "words"),
    [
        ("", 100.0, "ok", "at once"),
        ("proxy_ignore_headers X-Accel-Buffering;", 1.0, "critical", "a proxy in front of the API buffers"),
    ],
    ids=["passes", "buffers"],
)
def test_the_doctor_finds_a_proxy_that_buffers(
    stack: Stack, run: Run, monkeypatch: pytest.MonkeyPatch, *, more: str, seconds: float, result: str, words: str
) -> None:
    """A real nginx as it comes: by our header it passes on at once; told to ignore the header, it fills its buffers."""
    monkeypatch.setattr(examination, "STREAM_SECONDS", seconds)
    with nginx(urlsplit(stack.url).port or 0, "", "1.0", more) as url:
        ended = run("doctor", "--json", "--no-job", "--url", url)
    (found,) = [check for check in orjson.loads(ended.stdout)["checks"] if check["name"] == "streaming"]
    assert (found["result"], words in found["detail"]) == (result, True), found


@pytest.mark.slow
def test_the_base_install_has_all_commands_but_the_servers(stack: Stack) -> None:
    """None of them imports a package of the extra `server`."""
    hides = "import sys; sys.modules.update(dict.fromkeys(%r)); from readalong.cli.start import main; main()"
    with in_terminal("ask", "What?", program=("-c", hides % (SERVER_MODULES,))) as terminal:
        job = job_of(terminal)
        assert terminal.ended() == 0
    for words, code in (
        (["jobs"], 0),
        (["show", job[:10]], 0),
        (["workers"], 0),
        (["status"], 0),
        (["top", "--json"], 0),
        (["doctor", "--no-job"], 0),
        (["retry", job], 0),
        (["watch", job], 0),
        (["cancel", job], 0),
        (["erase", "--yes", job], 0),
    ):
        with in_terminal(*words, program=("-c", hides % (SERVER_MODULES,))) as terminal:
            assert terminal.ended() == code, terminal.text
