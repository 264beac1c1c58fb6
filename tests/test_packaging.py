"""The contents of an install: one version, locks that cover everything, and no trace of the machine that made them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import readalong
from tests.support.distributions import base_requirements, normal, project, server_requirements

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-runtime.lock")
NOT_OURS = {"__pycache__", "build", "dist", "node_modules"}


def runtime() -> list[str]:
    """Returns the requirements of a server: those of every install, and those of the extra."""
    return [*base_requirements(), *server_requirements()]


def locked(lock: str) -> dict[str, str]:
    """Name and version of each pin in a lock."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / lock).read_text("utf-8"), re.MULTILINE)
    return {normal(name): version for name, version in pins}


def vendored() -> set[str]:
    """The names of the page's libraries, from the table of their copies."""
    table = (ROOT / "api/page/vendor/README.md").read_text("utf-8")
    return {normal(name) for name in re.findall(r"^\| `[^`]+` \| `@?([^`]+)` ", table, re.MULTILINE)}


def our_files() -> Iterator[Path]:
    """Every file of the project; hidden folders but the CI's hold tools' caches and the environment."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name not in NOT_OURS and not name.endswith(".egg-info") and (name[0] != "." or name == ".ci")
        ]
        yield from (Path(folder, name) for name in files)


def test_the_version_is_the_same_in_the_package_and_in_the_project() -> None:
    """`readalong --version` and the installed distribution agree."""
    assert readalong.__version__ == project()["project"]["version"]


@pytest.mark.parametrize("lock", LOCKS)
def test_each_lock_covers_every_runtime_dependency(lock: str) -> None:
    """A dependency that no lock names fails the next install: `make lock` was forgotten."""
    wanted = {normal(requirement) for requirement in runtime()}
    assert wanted <= locked(lock).keys()


def test_the_lock_covers_every_development_dependency() -> None:
    """`make test` and `make check` run the same tools everywhere."""
    groups = project()["dependency-groups"]
    wanted = {normal(entry) for entry in [*groups["dev"], *groups["build"]] if isinstance(entry, str)}
    assert wanted <= locked("requirements.lock").keys()


def test_both_locks_pin_the_same_versions() -> None:
    """The image runs the tested versions."""
    assert locked("requirements-runtime.lock").items() <= locked("requirements.lock").items()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_a_hash_for_every_pin_and_no_address(lock: str) -> None:
    """A lock installs from the registry that the machine is set up with, and installs only what was locked."""
    text = (ROOT / lock).read_text("utf-8")
    assert not re.search(r"://|^\s*-[-\w]*(?:index|find-links)", text, re.MULTILINE)
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert not [block.split()[0] for block in blocks if "--hash=sha256:" not in block]


def test_every_dependency_is_explained() -> None:
    """docs/dependencies.md has a line for each one that pyproject.toml names, and for each library of the page."""
    named = [*runtime(), *(entry for group in project()["dependency-groups"].values() for entry in group)]
    text = (ROOT / "docs/dependencies.md").read_text("utf-8")
    explained = {normal(name) for name in re.findall(r"^\| `@?([^`]+)` \|", text, re.MULTILINE)}
    assert {normal(entry) for entry in named if isinstance(entry, str)} | vendored() == explained


def test_no_file_names_a_package_registry_or_a_home_folder() -> None:
    """Both belong to one machine."""
    registry = re.compile(r"\b(?:pypi|pythonhosted|npmjs|deb\.debian)\.(?:org|com|io|net)\b")
    home = re.compile(r"(?<![\w.~$}/])/(?:home|root|Users)/\w")
    broken = []
    for path in our_files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        found = registry.search(text) or home.search(text)
        if found is not None:
            broken.append(f"{path.relative_to(ROOT)}: {found[0]}")
    assert not broken, "\n".join(broken)
