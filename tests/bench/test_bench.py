"""The benchmark's pieces at tiny sizes. No figure is asserted: that would test the machine."""

from __future__ import annotations

import asyncio
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
from bench import report
from bench.child import ROLES
from bench.cpu import cpu_seconds, seconds_of
from bench.plan import Plan
from bench.quantiles import summary
from bench.stack import BenchError, Stack
from bench.wire import Stream
from tests.support.servers import RedisServer

TINY = Plan(
    rounds=1,
    stock_jobs=1,
    jobs=2,
    streams=(2,),
    stream_rate=50,
    stream_seconds=0.3,
    watchers=5,
    watch_rate=20,
    watch_seconds=0.3,
    settle=0.05,
    warm_up_jobs=1,
)
LATEST = Path(bench.__file__).parent / "results" / "latest.json"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """Every process that a stack starts, Valkey too."""
    processes: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            processes.append(self)

    monkeypatch.setattr("subprocess.Popen", Recorded)
    return processes


def test_a_tiny_run_measures_everything_and_leaves_no_process(started: list[subprocess.Popen[bytes]]) -> None:
    """Every section once, with real processes; the table can be shown."""
    console = Console(file=io.StringIO(), width=160)
    results = bench.run(TINY, console)
    assert results["start_ms"]["stock_arq"]["n"] == 1
    assert results["start_ms"]["readalong_client"]["n"] == results["start_ms"]["readalong_redis"]["n"] == 2
    assert results["token"]["2"]["direct"]["cpu_us_per_token"].keys() == {"client", "direct"}
    assert results["token"]["2"]["readalong"]["cpu_us_per_token"].keys() == {"client", "worker", "api", "valkey"}
    assert results["fanout"]["deliveries"] > results["fanout"]["tokens"] > 0
    orjson.dumps(results)
    report.show(results, console)
    assert len(report.rows(results)) == 3 + 3 + 2
    assert len(started) >= len(ROLES) + 1
    assert all(process.returncode is not None for process in started)


def test_a_process_does_not_outlive_a_block_that_breaks(started: list[subprocess.Popen[bytes]]) -> None:
    """On an error, and so on a Ctrl-C, which is one too."""

    def broken(resources: ExitStack) -> None:
        stack = Stack(resources.enter_context(RedisServer.start()), resources)
        resources.enter_context(stack.child("clock_model"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ExitStack() as resources:
        broken(resources)
    assert started
    assert all(process.returncode is not None for process in started)


def test_a_process_that_does_not_start_is_named_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and not a time-out half a minute later."""
    with RedisServer.start() as redis, ExitStack() as resources:
        stack = Stack(redis, resources)
        monkeypatch.setattr("sys.executable", shutil.which("echo"))
        with stack.child("direct"), pytest.raises(BenchError, match=r"direct did not start: -m bench.child direct \d+"):
            stack.wait("direct", lambda _: False)


def test_a_measured_process_ends_with_the_one_that_started_it() -> None:
    """However that one dies: its end of the pipe closes."""
    words = [sys.executable, "-m", "bench.child", "clock_model", "0"]
    with subprocess.Popen(words, cwd=LATEST.parents[2], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)


def test_a_token_comes_when_its_last_byte_does() -> None:
    """It may be cut anywhere; what the end repeats does not count."""

    async def read() -> Stream:
        stream = Stream(b"")
        for piece in (b"HTTP/1.1 200 OK\r\n\r\n@100 x@2", b"00 ", b"event: done\ndata: @100 @200 "):
            stream.data_received(piece)
        return stream

    stream = asyncio.run(read())
    first, second = stream.tokens()
    assert (first.sent, second.sent) == (100, 200)
    assert first.came < second.came == stream.time_of(b"@200 ")
    with pytest.raises(BenchError, match="no b'event: started'"):
        stream.time_of(b"event: started")


def test_a_summary_is_by_nearest_rank() -> None:
    """The p99 of a hundred values is the 99th."""
    assert summary([float(n) for n in range(100, 0, -1)]) == {"n": 100, "p50": 50, "p95": 95, "p99": 99, "max": 100}
    assert summary([3.0])["p99"] == 3.0
    with pytest.raises(ValueError, match="nothing was measured"):
        summary([])


def test_the_cpu_time_of_another_process_is_what_it_says_itself() -> None:
    """The child burns some, prints its own account of it, and waits."""
    code = "import time\nwhile time.process_time() < 0.1: pass\nprint(time.process_time(), flush=True)\ninput()"
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = float(process.stdout.readline())
        assert said - 0.02 <= cpu_seconds(process.pid) <= said + 1
        process.communicate("\n")
    with pytest.raises(ProcessLookupError):
        cpu_seconds(process.pid)


@pytest.mark.parametrize(("shown", "seconds"), [("0:01.25", 1.25), (" 01:02:03\n", 3723.0), ("2-00:00:01", 172801.0)])
def test_what_ps_shows_is_read_in_all_its_forms(shown: str, seconds: float) -> None:
    """macOS and BSD have no clock of another process."""
    assert seconds_of(shown) == seconds


def test_the_readme_shows_the_committed_run() -> None:
    """Nobody edits the table by hand, and no run is committed by halves."""
    shown = report.README.read_text("utf-8").split(report.BEGIN)[1].split(report.END)[0]
    assert shown == report.markdown(orjson.loads(LATEST.read_bytes()))


def test_the_clock_is_the_machines() -> None:
    """Delays are differences between two processes' monotonic clocks."""
    before = time.monotonic_ns()
    words = [sys.executable, "-c", "import time; print(time.monotonic_ns())"]
    there = int(subprocess.run(words, capture_output=True, check=True).stdout)
    assert before < there < time.monotonic_ns()
