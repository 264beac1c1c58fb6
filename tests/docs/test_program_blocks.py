"""Blocks of Python: programs, providers, applications of the recipes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx2
import pytest

from tests.clients.asked import answer, question
from tests.docs.blocks import ROOT, Block, blocks_for, blocks_of
from tests.docs.test_shell_blocks import ADDRESS, lines, shell
from tests.support.environment import clean_environment
from tests.support.processes import WORKER_CODE
from tests.support.servers import free_port
from tests.support.stack import Stack
from tests.support.waiting import until

pytestmark = pytest.mark.slow

_HERE: Final = "tests/docs/test_program_blocks.py"
PROGRAMS: Final = blocks_for(f"{_HERE}::test_a_block_runs_in_python")
APPLICATIONS: Final = blocks_for(f"{_HERE}::test_an_application_of_a_recipe_streams")
LANGCHAIN: Final = blocks_for(f"{_HERE}::test_a_block_runs_with_langchain")
_FOREIGN: Final = ROOT / ".venv-clients" / "bin" / "python"
#: The imports and names that a page takes for granted.
_BEFORE: Final = """
import os, openai
client = openai.OpenAI(base_url=os.environ["READALONG_URL"] + "/v1", api_key="unused")
"""


def environment(stack: Stack) -> dict[str, str]:
    return {**clean_environment(), "READALONG_URL": stack.url, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("block", PROGRAMS, ids=[block.name for block in PROGRAMS])
def test_a_block_runs_in_python(stack: Stack, block: Block) -> None:
    words = [sys.executable, "-c", _BEFORE + ADDRESS.sub(stack.url, block.text)]
    ran = subprocess.run(words, env=environment(stack), capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout or "print" not in block.text


async def test_a_provider_answers_as_the_page_asks(stack: Stack, tmp_path: Path) -> None:
    """That of the README and that of the page, with the page's settings and its question."""
    (page,) = [block for block in blocks_of(ROOT / "docs/providers.md") if block.language == "sh"]
    (setting,) = re.findall(r"READALONG_PROVIDERS=(\S+)", page.text)
    (asked,) = [line for line in lines(page.text) if line.startswith("readalong ask")]
    providers = [each for each in blocks_for(f"{_HERE}::test_a_provider_answers_as_the_page_asks") if each != page]
    assert {block.page for block in providers} <= {"README.md", "docs/providers.md"}
    (tmp_path / "my_app").mkdir()
    for block in providers:
        (tmp_path / "my_app" / "models.py").write_text(block.text)
        for worker in stack.workers[1:]:
            worker.kill()
        stack.workers[0].restart_cold_as(WORKER_CODE, READALONG_PROVIDERS=setting, PYTHONPATH=f"{tmp_path}:{ROOT}")
        stack.wait_ready()
        ran = shell(asked, tmp_path, stack)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.rstrip().endswith("One generation, many readers"), ran.stdout


@contextmanager
def served(stack: Stack, code: str, folder: Path, python: Path) -> Iterator[str]:
    """Serves `app` of the code by uvicorn; yields the URL."""
    (folder / "recipe.py").write_text(ADDRESS.sub(stack.url, code))
    port = free_port()
    words = [str(python), "-m", "uvicorn", "recipe:app", "--app-dir", str(folder), "--port", str(port)]
    more = {"READALONG_REDIS_URL": stack.redis.url}
    with subprocess.Popen(words, env={**environment(stack), **more}, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            heard = []
            for line in process.stderr:
                heard.append(line)
                if "Uvicorn running" in line:
                    break
            else:
                raise AssertionError("".join(heard))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.mark.parametrize("block", APPLICATIONS, ids=[block.name for block in APPLICATIONS])
async def test_an_application_of_a_recipe_streams(stack: Stack, block: Block, tmp_path: Path) -> None:
    """The whole answer as it comes; a reader who leaves cancels the generation."""
    python = _FOREIGN if "django" in block.text else Path(sys.executable)
    if not python.exists():
        pytest.skip("make test-all could not make .venv-clients")
    asked, stays = question("Who reads along?"), question("Who stays?")
    with served(stack, block.text, tmp_path, python) as url, httpx2.Client(trust_env=False, timeout=100) as client:
        assert client.get(f"{url}/ask", params={"q": asked}).text == answer("demo-fast", asked)
        stack.apis[0].restart(READALONG_MODEL="demo-endless")
        stack.wait_ready()
        with client.stream("GET", f"{url}/ask", params={"q": stays}) as response:
            assert next(response.iter_bytes())
        await until(lambda: [each["state"] for each in stack.generations(stays)] == ["gone"])


@pytest.mark.skipif(not _FOREIGN.exists(), reason="make test-all could not make .venv-clients")
@pytest.mark.parametrize("block", LANGCHAIN, ids=[block.name for block in LANGCHAIN])
def test_a_block_runs_with_langchain(stack: Stack, block: Block) -> None:
    words = [str(_FOREIGN), "-c", ADDRESS.sub(stack.url, block.text)]
    ran = subprocess.run(words, env=environment(stack), capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout
