"""The logs of `readalong api` and `readalong worker`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cli.conftest import Run
from tests.cli.processes import wait_for
from tests.support.servers import RedisServer, free_port


@contextmanager
def running(folder: str, *words: str, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Runs `readalong <words>` until the end of the block. Its stderr is a file."""
    path = os.path.join(folder, "stderr")
    environment = {**os.environ, "OPENAI_API_KEY": "x", **{f"READALONG_{name}": settings[name] for name in settings}}
    with open(path, "wb") as stderr:
        process = subprocess.Popen([sys.executable, "-m", "readalong.cli", *words], env=environment, stderr=stderr)
    try:
        yield process, path
    finally:
        process.kill()
        process.wait()


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize("command", ["api", pytest.param("worker", marks=pytest.mark.slow)])
def test_all_lines_of_a_process_are_json_where_that_is_wanted(tmp_path: os.PathLike[str], command: str) -> None:
    """Lines of uvicorn and arq, too, and the warning for a misspelt variable. The start names Redis and the version."""
    words = ("api", "--port", str(free_port())) if command == "api" else ("worker",)
    more = {"REDIS_URL": "", "LOG_FORMAT": "json", "REDIS_TIMEOT": "3"}
    with RedisServer.start() as redis:
        redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        more["REDIS_URL"] = redis.url
        with running(str(tmp_path), *words, **more) as (process, path):
            wait_for(lambda: "REDIS MAY DROP JOBS" in read(path) or process.poll() is not None)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, read(path)
    lines = [json.loads(line) for line in read(path).splitlines()]
    messages = [line["message"] for line in lines]
    assert all(line.keys() >= {"time", "level", "logger", "process"} for line in lines)
    assert "READALONG_REDIS_TIMEOT is no setting and does nothing; did you mean READALONG_REDIS_TIMEOUT?" in messages[0]
    assert any("Redis answers at redis://127.0.0.1:" in message for message in messages)
    if command == "api":
        assert any("serving on http://127.0.0.1:" in message and "readalong 0." in message for message in messages)
        assert any(line["logger"] == "uvicorn.error" for line in lines)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("RuntimeError('a\\nbug')", 1, "the process broke"),
        pytest.param("BadSettings('no key')", 2, "no key", marks=pytest.mark.slow),
    ],
    ids=["bug", "bad setting"],
)
def test_what_ends_a_process_is_a_line_of_its_json_too(error: str, code: int, message: str) -> None:
    lines = (
        "import sys, readalong.worker.main",
        "from readalong.core.errors import BadSettings",
        f"def broken(settings): raise {error}",
        "readalong.worker.main.run = broken",
        "sys.argv = ['readalong', 'worker']",
        "from readalong.cli.main import app",
        "app()",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env={**os.environ, "READALONG_LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        check=False,
    )
    [line] = map(json.loads, done.stderr.splitlines())
    assert (done.returncode, line["level"], line["message"]) == (code, "critical", message)


@pytest.mark.parametrize(("name", "hint"), [("REDIS_ULR", "did you mean READALONG_REDIS_URL?"), ("XQZW", "shows all")])
def test_a_command_that_a_person_reads_names_a_misspelt_variable(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    """The command runs, and stdout does not change."""
    monkeypatch.setenv(f"READALONG_{name}", "redis://elsewhere")
    result = run("settings", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)
    [line] = result.stderr.splitlines()
    assert line.startswith(f"readalong: READALONG_{name} is no setting and does nothing; ")
    assert hint in line
