"""The JavaScript client: its own tests, its types, its package, and the examples of its documentation."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

import readalong
from tests.clients.node_chat import FOLDER
from tests.support.stack import Stack

ROOT: Final = Path(__file__).parents[2]
CLIENT: Final = ROOT / "clients" / "js"
PAGES: Final = ("docs/clients/javascript.md", "clients/js/README.md")
EXAMPLES: Final = [
    pytest.param(code, id=f"{Path(page).stem}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```js\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL))
]
ADDRESS: Final = "http://127.0.0.1:8000"


def run(*words: str | Path, folder: Path) -> str:
    """Returns what a program writes on stdout."""
    ran = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_its_own_tests_pass() -> None:
    run("node", "--test", "readalong.test.mjs", folder=FOLDER)


def test_its_types_accept_a_program_and_refuse_its_mistakes(node_packages: None) -> None:
    run(FOLDER / "node_modules/.bin/tsc", "--project", ".", folder=FOLDER)


@pytest.mark.parametrize("entry", ["readalong", "react"])
def test_its_types_name_what_it_exports(entry: str) -> None:
    exported = r"^export (?:async )?(?:class|function|const) (\w+)"
    typed = re.findall(exported, (CLIENT / f"{entry}.d.ts").read_text("utf-8"), re.MULTILINE)
    if entry == "react":  # it imports React, which is not here
        names = re.findall(exported, (CLIENT / "react.js").read_text("utf-8"), re.MULTILINE)
    else:
        print_names = "import * as all from './readalong.js'; console.log(JSON.stringify(Object.keys(all)))"
        names = json.loads(run("node", "--input-type=module", "-e", print_names, folder=CLIENT))
    assert sorted(typed) == sorted(names)


@pytest.mark.parametrize("how", ["folder", "package"])
def test_it_installs(tmp_path: Path, how: str) -> None:
    """From the repository's folder and from the file that npm packs, by the addresses that programs import."""
    (tmp_path / "package.json").write_text('{"type": "module"}')
    source: Path = CLIENT
    if how == "package":
        (packed,) = json.loads(run("npm", "pack", "--json", "--pack-destination", tmp_path, folder=CLIENT))
        assert packed["version"] == readalong.__version__
        modules = {path.relative_to(CLIENT).as_posix() for path in CLIENT.rglob("*") if path.suffix in (".js", ".ts")}
        assert {each["path"] for each in packed["files"]} == {*modules, "LICENSE", "README.md", "package.json"}
        source = tmp_path / packed["filename"]
    run("npm", "install", "--offline", "--no-audit", "--no-fund", source, folder=tmp_path)
    asks = "import { Client } from 'readalong'; console.log(new Client({ baseUrl: 'http://a' }).watch('b').jobId)"
    assert run("node", "--input-type=module", "-e", asks, folder=tmp_path) == "b\n"
    found = "console.log(import.meta.resolve('readalong/react'))"
    assert run("node", "--input-type=module", "-e", found, folder=tmp_path).endswith("/react.js\n")


def test_its_licence_is_the_projects() -> None:
    assert (CLIENT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_of_its_documentation_runs(stack: Stack, code: str, tmp_path: Path) -> None:
    """With the address of a stack in place of that of the documentation."""
    assert ADDRESS in code
    (tmp_path / "node_modules").mkdir()
    os.symlink(CLIENT, tmp_path / "node_modules" / "readalong")
    (tmp_path / "example.mjs").write_text(code.replace(ADDRESS, stack.url))
    assert run("node", "example.mjs", folder=tmp_path).strip()
