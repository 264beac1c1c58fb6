"""Completion in a shell: commands, options, and ids of the API's jobs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.samples import FIRST, SECOND, job
from tests.cli.scripted_api import ScriptedApi, answer

#: A process of each shell, and one of Python for each completion.
pytestmark = pytest.mark.slow

#: Gives the shell's name as the option's value, instead of looking for the shell around us.
_NAMED = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
#: How bash calls it for what stands before the cursor, and shows what it could become.
_BASH = """
eval "$SCRIPT"
function="$(complete -p readalong | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
COMP_WORDS=(readalong $LINE)
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
"$function" readalong
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str) -> str:
    """Returns what `readalong --show-completion` prints for the shell."""
    command = [sys.executable, "-c", "from readalong.cli.start import main; main()", "--show-completion", shell]
    return subprocess.run(
        command, env={**os.environ, **_NAMED}, capture_output=True, text=True, check=True, timeout=100
    ).stdout


def completed(shell: str, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Returns what the command answers to a shell that completes this line."""
    variables = {
        "bash": {"COMP_WORDS": f"readalong {line}", "COMP_CWORD": str(len(line.split()))},
        "zsh": {"_TYPER_COMPLETE_ARGS": f"readalong {line}"},
        "fish": {"_TYPER_COMPLETE_ARGS": f"readalong {line}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    return subprocess.run(
        [sys.executable, "-c", "from readalong.cli.start import main; main()"],
        env={**os.environ, **variables, "_READALONG_COMPLETE": f"complete_{shell}", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_ids_come_from_the_api(api: ScriptedApi, shell: str) -> None:
    """Those that begin so. zsh and fish show status, age and model as well."""
    api.routes["GET /v1/jobs"] = answer(200, {"jobs": [job(FIRST), job(SECOND, status="done"), job("b" * 22)]})
    found = completed(shell, "watch aaaa", READALONG_URL=api.url).stdout
    assert FIRST in found
    assert SECOND in found
    assert "b" * 22 not in found
    assert ("demo" in found) == (shell != "bash")
    assert "id=aaaa" in api.asked()[0]


def test_only_jobs_that_a_command_is_for(api: ScriptedApi) -> None:
    """`cancel` offers those that have not ended, `retry` the others, and none a second time."""
    api.routes["GET /v1/jobs"] = answer(200, {"jobs": [job(FIRST), job(SECOND, status="done")]})
    known = {line: completed("bash", line, READALONG_URL=api.url).stdout for line in ("cancel a", "retry a")}
    assert known == {"cancel a": FIRST, "retry a": SECOND} or known == {
        "cancel a": FIRST + "\n",
        "retry a": SECOND + "\n",
    }
    assert FIRST not in completed("bash", f"watch {FIRST} a", READALONG_URL=api.url).stdout


def test_the_api_of_the_line_is_asked(api: ScriptedApi) -> None:
    """`--url` before the id wins over the environment."""
    api.routes["GET /v1/jobs"] = answer(200, {"jobs": [job(FIRST)]})
    found = completed("bash", f"watch --url {api.url} a", READALONG_URL="http://127.0.0.1:9")
    assert FIRST in found.stdout


def test_without_an_api_nothing_is_offered_and_nothing_said() -> None:
    """A message would be written into the line that is typed."""
    found = completed("bash", "watch a", READALONG_URL="http://127.0.0.1:9")
    assert (found.stdout.strip(), found.stderr) == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(shell: str) -> None:
    assert "_READALONG_COMPLETE" in script(shell)


def test_bash_completes_in_earnest(api: ScriptedApi, tmp_path: Path) -> None:
    """The script in a real bash."""
    program = tmp_path / "readalong"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m readalong.cli "$@"\n')
    program.chmod(0o700)
    api.routes["GET /v1/jobs"] = answer(200, {"jobs": [job(FIRST)]})
    path = f"{tmp_path}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "SCRIPT": script("bash"), "READALONG_URL": api.url}
    for line, words in (("sh", ["show"]), ("show aaaa", [FIRST]), ("jobs --fol", ["--follow"])):
        ended = subprocess.run(
            ["bash", "-c", _BASH],
            env={**variables, "LINE": line},
            capture_output=True,
            text=True,
            check=True,
            timeout=100,
        )
        assert ended.stdout.split() == words, ended.stderr
