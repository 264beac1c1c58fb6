"""The Python client's types, as pyright sees them; strict mypy is part of `make check`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.clients.node_chat import FOLDER

ROOT: Final = Path(__file__).parents[2]

#: Accepted, but for the lines that say what is wrong with them.
_PROGRAM: Final = """
from readalong.client import AsyncClient, Client, Done, Event

def kind(event: Event) -> str:
    if event.type == "tool_call":
        return event.name
    if event.type == "restarted" or event.type == "started":
        return str(event.attempt)
    return event.finish_reason if isinstance(event, Done) else event.type

with Client() as client:
    stream = client.stream_chat("Why?", model="demo", temperature=1, metadata={"a": "b"})
    pieces: list[str] = list(stream)
    kinds: list[str] = [kind(event) for event in client.watch("job", after=3)]
    wrong: list[int] = list(stream)  # error
    client.stream_chat(messages=3)  # error
    client.watch()  # error
    print(stream.end.content)  # error
    next(iter(client.watch("job"))).finish_reason  # error

async def main() -> None:
    async with AsyncClient() as client:
        pieces: list[str] = [text async for text in client.stream_chat([{"role": "user", "content": "Why?"}])]
        job = await client.submit("Why?")
        print(pieces, job.created_at and job.created_at.year)
        for text in client.stream_chat("Why?"):  # error
            pass
"""


def complaints(folder: Path, path: Path, mode: str = "strict") -> list[tuple[str, int, str]]:
    """Returns what pyright says of the files at `path`: file, line and message."""
    config = {
        # It takes relative paths only.
        "include": [os.path.relpath(path, folder.resolve())],
        "typeCheckingMode": mode,
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT)],
    }
    project = folder / "pyrightconfig.json"
    project.write_text(json.dumps(config))
    command: list[str | Path] = [
        FOLDER / "node_modules/.bin/pyright",
        "--outputjson",
        "--project",
        project,
        "--pythonpath",
        sys.executable,
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    found = json.loads(ran.stdout)["generalDiagnostics"]
    return [(each["file"], each["range"]["start"]["line"], each["message"]) for each in found]


@pytest.mark.parametrize(("room", "mode"), [("readalong/client", "standard"), ("examples", "standard")])
def test_the_library_and_the_examples_have_no_type_errors(
    node_packages: None, tmp_path: Path, room: str, mode: str
) -> None:
    """The library reads JSON, whose parts a strict pyright calls unknown. Its callers may be strict: see below."""
    assert complaints(tmp_path, ROOT / room, mode) == []


def test_a_program_with_it_is_checked(node_packages: None, tmp_path: Path) -> None:
    """Its mistakes are found, and nothing else."""
    program = tmp_path / "program.py"
    program.write_text(_PROGRAM)
    wrong = {line for line, text in enumerate(_PROGRAM.splitlines()) if text.endswith("# error")}
    found = complaints(tmp_path, program)
    assert {line for _, line, _ in found} == wrong, found
