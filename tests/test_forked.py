"""Forked processes behave like started ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Process

#: The number of open files is last of the first line: a child must not hold the fork server's.
_PROBE = """
import os, signal, sys
print(sys.argv, __name__, os.getcwd(), dict(os.environ), os.getpgid(0) == os.getpid(), len(os.listdir("/dev/fd")))
print([signal.getsignal(one) for one in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)], sys.stdin.read(), flush=True)
sys.exit("the end")
"""


def process(folder: Path, *words: str) -> Process:
    environment = {"ONE": "1", "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
    return Process("probe", words, environment, folder)


def test_a_forked_process_has_all_that_a_started_one_has_and_no_more(tmp_path: Path) -> None:
    """Arguments, environment, folder, group, open files, signals, output and exit code are the same."""
    said = []
    for fork in (True, False):
        probe = process(tmp_path, "-c", _PROBE, "a word")
        probe.start(0, {"TWO": "2"}, fork=fork)
        assert probe.wait() == 1
        said.append(probe.output)
    assert said[0] == said[1]
    assert "'TWO': '2'" in said[0]
    assert "the end" in said[0]


def test_what_a_forked_process_raises_is_shown_and_is_exit_code_1(tmp_path: Path) -> None:
    failing = process(tmp_path, "-c", "raise KeyError('this one')")
    failing.start(0)
    assert failing.wait() == 1
    assert failing.output.endswith("KeyError: 'this one'\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_forked_process_obeys_signals_and_its_end_is_seen(tmp_path: Path, number: signal.Signals) -> None:
    """A stopped one too, as soon as it continues."""
    asleep = process(tmp_path, "-c", "import signal; print('up as 1', flush=True); signal.pause()")
    asleep.start(0)
    asleep.line("up as (1)")
    asleep.stop()
    assert asleep.running
    asleep.cont()
    os.kill(asleep.pid, number)
    assert asleep.wait() == -number
    assert not asleep.running


def test_the_one_that_forks_ends_with_the_run_that_started_it_even_if_that_is_killed(tmp_path: Path) -> None:
    """No other process holds the other end of its socket then."""
    code = (
        "import sys, pathlib; from tests.support.processes import Process;"
        "one = Process('one', ['-c', 'import os; print(f\"parent {os.getppid()}\")'], {}, pathlib.Path(sys.argv[1]));"
        "one.start(0); print(one.line(r'parent (\\d+)'), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as run:
        assert run.stdout is not None
        forkserver = int(run.stdout.readline())
        os.kill(forkserver, 0)
        run.kill()
        # It holds the run's standard output as well: the pipe's end is its end.
        assert run.stdout.read() == ""
