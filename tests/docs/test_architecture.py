"""docs/architecture.md and the layouts in the packages name what is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "docs/architecture.md").read_text("utf-8")
#: `name` in `path`: a function, a class, or a method with its class before it.
PLACES = sorted(set(re.findall(r"`([\w.]+)(?:\(\))?` in `([\w./]+\.py)`", MAP)))

LAYOUTS = sorted(
    path
    for room in ("readalong", "api", "worker")
    for path in (ROOT / room).rglob("__init__.py")
    if "# Layout" in path.read_text("utf-8")
)


def names_in(tree: ast.AST, scope: str = "") -> set[str]:
    """Returns the functions, classes and methods, with their classes before them."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(scope + node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {scope + node.name} | names_in(node, f"{scope}{node.name}.")
    return found


def test_every_path_in_the_map_is_there() -> None:
    """A map with a wrong street is worse than none."""
    paths = set(re.findall(r"`((?:api|worker|readalong|tests)/[\w./-]*)`", MAP))
    assert len(paths) > 40
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("package", [path.relative_to(ROOT).as_posix() for path in LAYOUTS])
def test_every_name_in_a_layout_is_in_its_package(package: str) -> None:
    """The docstring of a package is the first thing that a reader opens."""
    layout = (ROOT / package).read_text("utf-8").partition("# Layout")[2]
    folder = (ROOT / package).parent
    named = [first or second for first, second in re.findall(r"^(?:    (\w+/?)  |- `(\w+/?)` )", layout, re.MULTILINE)]
    missing = [name for name in named if not (folder / name).is_dir() and not (folder / f"{name}.py").is_file()]
    assert named
    assert missing == []


@pytest.mark.parametrize("path", sorted({path for _, path in PLACES}))
def test_every_name_in_the_map_is_where_it_says(path: str) -> None:
    there = names_in(ast.parse((ROOT / path).read_bytes()))
    assert {name for name, place in PLACES if place == path} - there == set()
