"""Clients that generators make of openapi.json: they submit, read typed events, cancel, and get a typed error."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients.asked import answer, paced, question
from tests.clients.node_chat import FOLDER
from tests.support.client import call
from tests.support.environment import clean_environment
from tests.support.stack import Stack

HERE: Final = Path(__file__).parent / "generated"
GENERATORS: Final = Path(__file__).parents[2] / ".venv-generators"
MODEL: Final = "demo-fast"


async def run(*words: str | Path, cwd: Path, path: str = "") -> str:
    """Returns what a program prints. Fails the test if the program fails."""
    pipe = asyncio.subprocess.PIPE
    environment = clean_environment()
    environment |= {"PATH": f"{path}{environment.get('PATH', '')}", "PYTHONPATH": str(cwd), "HOME": str(cwd)}
    process = await asyncio.create_subprocess_exec(*words, cwd=cwd, env=environment, stdout=pipe, stderr=pipe)
    output, errors = await process.communicate()
    assert process.returncode == 0, f"{output.decode()}{errors.decode()}"
    return output.decode()


async def document(stack: Stack, folder: Path) -> Path:
    """Writes what the API says of itself."""
    file = folder / "openapi.json"
    file.write_bytes((await call("GET", f"{stack.url}/openapi.json")).body)
    return file


def check(printed: str, asked: str) -> None:
    told: dict[str, Any] = json.loads(printed)
    expected = answer(MODEL, asked)
    assert (told["text"], told["end"], told["worker"]) == (expected, expected, socket.gethostname())
    assert (told["by"], told["status"], told["metadata"]) == ("client", "cancelled", {"user": "ada"})
    assert (told["field"], told["codes"]) == ("messages", ["invalid_request", "job_not_found"])


@pytest.mark.skipif(not (GENERATORS / "done").exists(), reason="make test-all could not make .venv-generators")
async def test_a_client_of_openapi_python_client(stack: Stack, tmp_path: Path) -> None:
    """The generator has nothing to complain of."""
    programs, asked = GENERATORS / "bin", question()
    made = await run(
        *(programs / "openapi-python-client", "generate", "--path", await document(stack, tmp_path)),
        *("--meta", "none", "--output-path", tmp_path / "readalong_api", "--fail-on-warning"),
        cwd=tmp_path,
        path=f"{programs}:",
    )
    assert "Warning" not in made
    script = HERE / "use_client.py"
    check(await run(programs / "python", script, stack.url, MODEL, paced(4000), asked, cwd=tmp_path), asked)


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on the PATH")
@pytest.mark.usefixtures("node_packages")
async def test_types_of_openapi_typescript(stack: Stack, tmp_path: Path) -> None:
    """tsc finds nothing in a use of them, and a use of what is not there is an error to it."""
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    for name in ("use_client.ts", "tsconfig.json"):
        shutil.copy(HERE / name, tmp_path / name)
    programs, asked = tmp_path / "node_modules" / ".bin", question()
    await run(programs / "openapi-typescript", await document(stack, tmp_path), "-o", "api.d.ts", cwd=tmp_path)
    await run(programs / "tsc", "--project", tmp_path, cwd=tmp_path)
    bundle = ("--bundle", "--platform=node", "--format=esm", "--outfile=use_client.mjs")
    await run(programs / "esbuild", "use_client.ts", *bundle, cwd=tmp_path)
    check(await run("node", "use_client.mjs", stack.url, MODEL, paced(4000), asked, cwd=tmp_path), asked)
