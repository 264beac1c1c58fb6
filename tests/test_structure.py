"""The rules of structure that import-linter (pyproject.toml) cannot say: nothing pure waits, every name in Redis comes
from one module, and a public class says what it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PURE = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *(ROOT / "readalong/core").rglob("*.py"),
        *(ROOT / "api/wire").rglob("*.py"),
        ROOT / "readalong/store/entries.py",
        *(ROOT / "worker/model/chunks").rglob("*.py"),
        ROOT / "worker/model/openai/answer_parser.py",
        *(ROOT / "worker/model/openai/responses").rglob("*.py"),
    )
)


def modules_of(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


OURS = [*modules_of("readalong"), *modules_of("api"), *modules_of("worker")]


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_does_not_wait(module: str) -> None:
    """A pure module can be tested without a loop and used from anywhere."""
    tree = ast.parse((ROOT / module).read_bytes())
    waits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, waits)]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and value of each string in the file, with the fixed parts of f-strings, without docstrings."""
    tree = ast.parse(path.read_bytes(), str(path))
    prose = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def test_every_name_in_redis_comes_from_the_module_of_keys() -> None:
    """A name written twice is a name that will differ; `readalong: ` before a message is no name."""
    name = re.compile(r"readalong:(\S|$)")
    broken = [
        f"{path.relative_to(ROOT)}:{line} has {text!r}"
        for path in OURS
        if path.relative_to(ROOT).as_posix() not in ("readalong/core/keys.py", "readalong/core/settings.py")
        for line, text in texts(path)
        if name.search(text)
    ]
    code = re.compile(r"^[^-]*readalong:", re.MULTILINE)  # before any comment
    broken += [
        f"{path.relative_to(ROOT)} names a key"
        for path in sorted((ROOT / "readalong" / "redis" / "lua").rglob("*.lua"))
        if code.search(path.read_text("utf-8"))
    ]
    assert not broken, "\n".join(broken)


def test_a_public_class_says_what_it_is() -> None:
    bare = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in OURS
        for node in ast.parse(path.read_bytes()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and ast.get_docstring(node) is None
    ]
    assert not bare, "\n".join(bare)
