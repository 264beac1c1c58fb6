"""The requirements of this project, and the installed distributions that they bring."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]


def project() -> dict[str, Any]:
    """Returns pyproject.toml."""
    return tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))


def base_requirements() -> list[str]:
    """Returns the requirements of every install."""
    requirements: list[str] = project()["project"]["dependencies"]
    return requirements


def server_requirements() -> list[str]:
    """Returns the requirements that the extra `server` adds."""
    requirements: list[str] = project()["project"]["optional-dependencies"]["server"]
    return requirements


def normal(requirement: str) -> str:
    """Returns the normal form of a requirement's name: `typing_extensions>=4` is `typing-extensions`."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def closure(requirements: Iterable[str]) -> dict[str, Distribution]:
    """Returns the installed distributions, by name, that these requirements and their own bring."""
    found: dict[str, Distribution] = {}
    waiting, seen = list(requirements), set[str]()
    while waiting:
        requirement = waiting.pop().partition(";")[0]
        if requirement in seen:
            continue
        seen.add(requirement)
        try:
            each = distribution(normal(requirement))
        except PackageNotFoundError:
            continue  # of another platform or Python
        found[normal(requirement)] = each
        extras = re.search(r"\[([^]]*)\]", requirement)
        wanted = {name.strip() for name in extras[1].split(",")} if extras else set()
        for line in each.requires or ():
            extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", line)
            if extra is None or extra[1] in wanted:
                waiting.append(line)
    return found
