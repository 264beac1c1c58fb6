"""The wheel in an environment of its own, in a project that has folders of the same names as ours."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2
import orjson
import pytest

import readalong
from tests.api.serving import on_valkey
from tests.api.test_embedding import MOUNT
from tests.support.distributions import base_requirements, closure, server_requirements
from tests.support.servers import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
#: Folders that a project has, and that this project has too.
THEIRS = ("api", "worker", "cli", "tests")


class Environment(NamedTuple):
    """`bin`: its programs. `gained`: what the installation of the wheel has put into its site-packages."""

    bin: Path
    gained: set[str]

    @classmethod
    def make(cls, folder: Path, wheel: Path, requirements: Iterable[str]) -> Environment:
        """Makes an environment that has these requirements, as they are installed here, and the wheel."""
        venv.create(folder, symlinks=True)
        site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
        packages = folder / "packages"
        packages.mkdir()
        for each in closure(requirements).values():
            for top in {file.parts[0] for file in each.files or () if file.parts[0] != ".."}:
                if not (packages / top).exists():
                    (packages / top).symlink_to(Path(str(each.locate_file(top))))
        (site / "packages.pth").write_text(f"{packages}\n")
        before = set(os.listdir(site))
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "--disable-pip-version-check"]
        run([*pip, "install", "--quiet", "--no-index", "--no-deps", "--no-compile", str(wheel)], folder)
        return cls(folder / "bin", set(os.listdir(site)) - before)


def run(words: list[str], folder: Path, **more: str) -> str:
    """Returns what a program writes on stdout."""
    environment = {**_environment(), **more}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _environment() -> dict[str, str]:
    ours = ("READALONG", "OPENAI", "AZURE", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def build(kind: str, source: Path, folder: Path) -> Path:
    """Returns the file that the build backend makes of a source tree."""
    run([sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)], source)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """`pip install readalong[server]`."""
    folder = tmp_path_factory.mktemp("server")
    return Environment.make(folder, wheel, [*base_requirements(), *server_requirements()])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose folders come before everything that is installed, when it is on PYTHONPATH."""
    for name in THEIRS:
        package = tmp_path / "project" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
    return tmp_path / "project"


@contextmanager
def running(words: list[str], folder: Path, until: str, **more: str) -> Iterator[list[str]]:
    """Runs a program until it has written a line that holds `until`, and yields its lines. Ends it with SIGINT."""
    process = subprocess.Popen(
        words,
        cwd=folder,
        env={**_environment(), "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1", **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if until in line:
                break
        else:
            raise AssertionError("\n".join(lines))
        yield lines
        process.send_signal(signal.SIGINT)
        assert process.wait(100) == 0, process.stdout.read()
    finally:
        process.kill()
        process.communicate()


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """The tree has links where the source distribution has folders."""
    source = build("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    again = build("wheel", tmp_path / source.name.removesuffix(".tar.gz"), tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert {each.filename: each.CRC for each in first.infolist()} == {
            each.filename: each.CRC for each in second.infolist()
        }
        assert "readalong/py.typed" in first.namelist()  # or type checkers would take every name for Any
        for module in (ROOT / "clients/js").glob("readalong*/*.js"):
            assert first.read(f"readalong/api/page/readalong/{module.name}") == module.read_bytes()
        assert first.read("readalong/api/page/readalong.js") == (ROOT / "clients/js/readalong.js").read_bytes()


def test_the_page_of_a_package_index_has_absolute_links_to_the_repository_that_is_named() -> None:
    """There the README's own links would be dead."""
    metadata = [sys.executable, "-m", "hatchling", "metadata"]
    found = orjson.loads(run(metadata, ROOT, READALONG_REPOSITORY="https://forge.example/a/readalong/"))
    links = re.findall(r"\]\(([^)]+)\)", found["readme"]["text"])
    assert len(links) > 20
    assert [link for link in links if not link.startswith(("https://", "http://", "#"))] == []
    for kind, path in (("blob", "docs/protocol.md"), ("raw", "docs/inspector.png")):
        assert f"https://forge.example/a/readalong/{kind}/HEAD/{path}" in links
    assert found["urls"]["Changelog"] == "https://forge.example/a/readalong/blob/HEAD/CHANGELOG.md"
    plain = orjson.loads(run(metadata, ROOT))
    assert plain["readme"]["text"] == (ROOT / "README.md").read_text("utf-8")
    assert not plain.get("urls")


def test_an_environment_gains_one_name(server: Environment, project: Path) -> None:
    """A top-level `api` or `worker` of ours would hide the user's, or be hidden by it."""
    assert server.gained == {"readalong", f"readalong-{readalong.__version__}.dist-info"}
    code = f"import {', '.join(THEIRS)}; print(*(each.__file__ for each in ({', '.join(THEIRS)})))"
    files = run([str(server.bin / "python"), "-c", code], project).split()
    assert files == [str(project / name / "__init__.py") for name in THEIRS]


def test_the_demo_of_the_wheel_answers_a_client_of_the_base_install(
    server: Environment, wheel: Path, project: Path, tmp_path: Path
) -> None:
    """Each install has all that its commands need, and no folder of the project gets in their way."""
    base = Environment.make(tmp_path / "base", wheel, base_requirements())
    demo = [str(server.bin / "readalong"), "demo", "--port", "0"]
    with running(demo, project, "Ctrl-C ends it") as lines:
        (url,) = [line.split()[1].rstrip("/") for line in lines if line.startswith("page ")]
        client = {"READALONG_URL": url, "PYTHONPATH": str(project)}
        assert run([str(base.bin / "readalong"), "ask", "How did this get here?"], project, **client).strip()
        assert "done" in run([str(base.bin / "readalong"), "jobs"], project, **client)


@on_valkey
def test_the_wheel_mounts_in_an_application_by_the_lines_of_the_docs(
    server: Environment, project: Path, redis_url: str
) -> None:
    """The page, the scripts and the routes are in the wheel, and their addresses have the prefix."""
    port = free_port()
    (project / "app.py").write_text(f"{MOUNT}\nimport uvicorn\nuvicorn.run(app, port={port})\n")
    words = [str(server.bin / "python"), "app.py"]
    with (
        running(words, project, "Uvicorn running", READALONG_REDIS_URL=redis_url),
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=100, trust_env=False) as http,
    ):
        assert http.get("/ai/").status_code == 200
        made = http.post("/ai/v1/jobs", json={"messages": [{"role": "user", "content": "hi"}]})
        assert made.status_code == 202
        assert made.headers["location"].startswith("/ai/v1/jobs/")
        assert http.get(made.headers["location"]).json()["status"] == "queued"
