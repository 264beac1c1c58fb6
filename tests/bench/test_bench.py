"""The benchmark at tiny sizes. No figure is asserted: that would test the machine."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from bench import __main__ as bench
from bench.contenders import nchan, resumable
from bench.harness.child import ROLES
from bench.harness.errors import BenchError
from bench.harness.stack import Stack
from bench.plan import Plan
from bench.report import table
from bench.report.rows import rows
from tests.support.servers import RedisServer

TINY = Plan(
    rounds=1,
    watchers=(10, 5),
    watch_rate=20,
    watch_seconds=0.2,
    fewer_seconds=0.1,
    flood=(40, 20, 10),
    format_turns=1,
    format_seconds=0.2,
    streams=(2,),
    stream_rate=50,
    stream_seconds=0.3,
    sdk_streams=2,
    stock_jobs=1,
    jobs=2,
    loaded_jobs=2,
    late_tokens=50,
    late_jobs=1,
    returning=10,
    returning_events=60,
    weighed_tokens=20,
    weighed_rate=500,
    finished_jobs=30,
    elsewhere_jobs=10,
    flat_again=True,
    few_jobs=5,
    pages=2,
    kills=1,
    settle=0.05,
    warm_up_jobs=1,
)
ALWAYS = {"readalong", "subscription a client", "write(2)"}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Returns every process that a stack starts, Valkey too."""
    processes: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            processes.append(self)

    monkeypatch.setattr("subprocess.Popen", Recorded)
    return processes


def test_a_tiny_run_measures_every_row_and_leaves_no_process(started: list[subprocess.Popen[bytes]]) -> None:
    """With real processes, and the contenders that this machine has; the table can be shown."""
    console = Console(file=io.StringIO(), width=160)
    found = bench.run(TINY, console)
    assert found["fanout"].keys() | found["missing"].keys() == ALWAYS | {"nchan", "resumable-stream"}
    assert found["fanout"].keys() >= ALWAYS
    for contender in found["fanout"].values():
        assert contender["paced"]["10"]["deliveries"] == 4 * 10
        assert contender["paced"]["5"]["lost"] == contender["flood"]["lost"] == 0
        assert contender["idle"]["watchers"] == 10
    assert found["fanout"]["readalong"]["commands_per_event"] == {"evalsha": 1}
    assert found["fanout"]["subscription a client"]["idle"]["redis_connections"] == 10
    assert found["streams"]["2"]["direct"]["cpu_us"].keys() == {"client", "direct"}
    assert found["streams"]["2"]["readalong"]["cpu_us"].keys() == {"client", "worker", "api", "valkey"}
    assert found["starts"]["idle"]["first_token_ms"]["n"] == found["starts"]["loaded"]["first_token_ms"]["n"] == 2
    formats = {"native", "chat_stream", "OpenAI chat", "Responses", "AI SDK", "AG-UI"}
    assert found["formats"]["cpu_us"].keys() == formats
    assert {name: times["n"] for name, times in found["faces"]["first_token"].items()} == {"native": 2, "chat": 2}
    assert found["faces"]["sdk"]["readalong"]["cpu_us"].keys() == {"client", "worker", "api", "valkey"}
    assert found["faces"]["sdk"]["straight"]["cpu_us"].keys() == {"client"}
    assert found["late"]["events"] >= 1
    assert found["return"]["live"]["log_reads"] >= 1
    assert found["flat"]["with"]["fanout"]["lost"] == 0
    assert found["deaths"]["restarted_s"]["n"] == 1
    assert found["weight"]["redis_bytes"] > found["weight"]["text_bytes"] > 20
    orjson.dumps(found)
    table.show(found, console)
    assert found["listing"]["many"].keys() == {"all", "state", "model", "both", "time"}
    assert len({row.key for row in rows(found)}) == 5 + 3 + 4 + 4 + 5 + 4 + 1 + 1
    assert len(started) > len(ROLES)
    assert all(process.returncode is not None for process in started)


def test_a_process_does_not_outlive_a_block_that_breaks(started: list[subprocess.Popen[bytes]]) -> None:
    """An error ends it, and so does a Ctrl-C, which raises one."""

    def broken(resources: ExitStack) -> None:
        stack = Stack(resources.enter_context(RedisServer.start()), resources)
        resources.enter_context(stack.child("clock_model"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ExitStack() as resources:
        broken(resources)
    assert started
    assert all(process.returncode is not None for process in started)


def test_a_process_that_does_not_start_is_named_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and not by a time-out half a minute later."""
    with RedisServer.start() as redis, ExitStack() as resources:
        stack = Stack(redis, resources)
        monkeypatch.setattr("sys.executable", shutil.which("echo"))
        said = r"direct did not start: -m bench.harness.child direct \d+"
        with stack.child("direct"), pytest.raises(BenchError, match=said):
            stack.wait("direct", lambda _: False)


def test_a_measured_process_ends_with_the_one_that_started_it() -> None:
    """The child ends when its end of the pipe closes, however the parent dies."""
    words = [sys.executable, "-m", "bench.harness.child", "clock_model", "0"]
    with subprocess.Popen(words, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)


def test_a_halted_process_runs_again_when_the_block_ends() -> None:
    """Also when the block raises: the next measurement would wait for ever."""

    def state(pid: int) -> str:
        shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=True)
        return shown.stdout[0]

    with Stack.start() as stack:
        pid = stack.pids["valkey"]

        def broken() -> None:
            with stack.stopped("valkey"):
                assert state(pid) == "T"
                raise BenchError("broken")

        with pytest.raises(BenchError):
            broken()
        assert stack.redis.command("PING")


def test_contenders_that_are_not_installed_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The reason names the missing part."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nchan, "nginx_binary", lambda: None)
    assert nchan.missing() == "nginx is not installed"
    assert resumable.missing() == "Node is not installed"
    monkeypatch.setattr(nchan, "nginx_binary", lambda: "nginx")
    monkeypatch.setattr(nchan, "_MODULES", (str(tmp_path),))
    assert nchan.missing() == "nginx has no ngx_nchan_module.so"
    (tmp_path / "ngx_nchan_module.so").touch()
    assert nchan.missing() == ""
    (tmp_path / "node").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "node").chmod(0o755)
    assert "READALONG_BENCH_NODE_MODULES" in resumable.missing()


def test_the_clock_is_the_machines() -> None:
    """Delays are differences between two processes' monotonic clocks."""
    before = time.monotonic_ns()
    words = [sys.executable, "-c", "import time; print(time.monotonic_ns())"]
    there = int(subprocess.run(words, capture_output=True, check=True).stdout)
    assert before < there < time.monotonic_ns()
