"""The guards that precede the imports of a program."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Sends SIGUSR1 when a module is looked for, and again at the exit of the interpreter.
_ASK = """
import atexit, os, signal, sys

class Asks:
    def find_spec(self, name, path=None, target=None):
        if name in ("readalong.cli.main", "readalong.testing.server"):
            ask()

def ask():
    os.kill(os.getpid(), signal.SIGUSR1)
    print("asked", file=sys.stderr)

signal.signal(signal.SIGUSR1, signal.SIG_DFL)  # also if it was inherited as ignored
sys.meta_path.insert(0, Asks())
atexit.register(ask)
"""


def ended(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs this code in a Python with these words as its arguments."""
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        pytest.param("from readalong.cli.start import main; main()", ["settings"], marks=pytest.mark.slow),
        ("from readalong.cli.start import main; main()", ["model", "--host", "203.0.113.7"]),
        ("from readalong.testing.__main__ import main; sys.exit(main())", ["--host", "203.0.113.7"]),
    ],
    ids=["cli", "model", "testing"],
)
def test_a_request_for_a_report_never_ends_a_program_that_has_none(run: str, words: list[str]) -> None:
    """Neither during its imports nor at its exit: its exit code is its own."""
    done = ended(_ASK + run, *words)
    assert done.stderr.count("asked") >= 2
    assert done.returncode == (0 if words == ["settings"] else 1), done.stderr


def test_a_traceback_cannot_steer_a_terminal() -> None:
    """A traceback may quote foreign text."""
    code = """
import rich.console
from readalong.cli.start import main

def broken(*_, **__):
    raise RuntimeError("from a server: \\x1b[2J\\x9b2J\\u202e end")

rich.console.Console.print = broken
main()
"""
    done = ended(code, "settings")
    assert done.returncode == 1
    assert "RuntimeError: from a server: \u241b[2J\ufffd2J\ufffd end" in done.stderr
