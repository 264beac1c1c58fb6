"""Blocks for a shell, as a person types them: line by line, each with the id that an earlier one printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import httpx2
import pytest

from tests.docs.blocks import ROOT, Block, blocks_for
from tests.support.environment import clean_environment
from tests.support.servers import free_port
from tests.support.stack import Stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on the PATH"),
]

BLOCKS: Final = blocks_for("tests/docs/test_shell_blocks.py::test_a_block_runs_in_a_shell")
ADDRESS: Final = re.compile(r"(http://)?(127\.0\.0\.1|localhost):8000")
#: curl then fails for a refusal, too.
_CURLRC: Final = "fail-with-body\nsilent\nshow-error\n"
_MESSAGES: Final = [{"role": "user", "content": "What is a log?"}]
#: Lines that may print nothing: there may be no event after the given one.
_SILENT: Final = ("> /dev/null", "erase", "?after=")
#: What a reader of docs/cli.md has at hand.
_AT_HAND: Final = 'notify() { echo "$@"; }\n'


def lines(text: str) -> list[str]:
    """Returns the commands of a block: a line that ends with a backslash goes on."""
    whole = re.sub(r"\\\n\s*", " ", text)
    return [line for line in whole.splitlines() if line.strip() and not line.startswith("#")]


def shell(line: str, folder: Path, stack: Stack, typed: str = "") -> subprocess.CompletedProcess[str]:
    environment = {
        **clean_environment(),
        "HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "READALONG_URL": stack.url,
        "PYTHONPATH": str(ROOT),
    }
    words = ["bash", "-c", _AT_HAND + ADDRESS.sub(stack.url, line)]
    return subprocess.run(
        words, cwd=folder, env=environment, input=typed, capture_output=True, text=True, timeout=200, check=False
    )


@pytest.mark.parametrize("block", BLOCKS, ids=[block.name for block in BLOCKS])
def test_a_block_runs_in_a_shell(stack: Stack, block: Block, tmp_path: Path) -> None:
    (tmp_path / ".curlrc").write_text(_CURLRC)
    (tmp_path / "question.txt").write_text("What is a log?")
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    with httpx2.Client(base_url=stack.url, headers={"Prefer": "wait=60"}, trust_env=False, timeout=100) as client:
        job_id, _ = [
            client.post("/v1/jobs", json={"model": model, "messages": _MESSAGES}).json()["id"]
            for model in ("demo-fast", "demo-error")  # lists have one of each end
        ]
    for line in lines(block.text):
        ran = shell(line.replace("ID", job_id), tmp_path, stack, typed="Why?")
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
        assert ran.stdout or any(word in line for word in _SILENT), f"{line} printed nothing"
        made = re.match(r'\{"id":\s?"([^"]+)"', ran.stdout)
        job_id = made[1] if made else job_id


def test_the_demo_model_answers_the_lines_of_its_page(tmp_path: Path) -> None:
    (block,) = blocks_for("tests/docs/test_shell_blocks.py::test_the_demo_model_answers_the_lines_of_its_page")
    serve, ask = lines(block.text.replace("9000", str(free_port())))
    program, *words = shlex.split(serve, comments=True)
    command = [str(Path(sys.executable).with_name(program)), *words]
    with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, text=True) as model:
        try:
            assert model.stdout is not None
            assert "demo model on" in model.stdout.readline()
            asked = subprocess.run(
                shlex.split(ask), cwd=tmp_path, capture_output=True, text=True, timeout=200, check=True
            )
            assert asked.stdout.rstrip().endswith("data: [DONE]")
        finally:
            model.terminate()
