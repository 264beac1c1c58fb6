"""The rules of the house that import-linter (pyproject.toml) cannot say: nothing pure waits, where names in Redis come
from, which private names of other libraries are used."""

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
        ROOT / "worker/model/answer.py",
        ROOT / "worker/model/chunk_accumulator.py",
    )
)


def modules_of(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


OURS = [*modules_of("readalong"), *modules_of("api"), *modules_of("worker")]


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_does_not_wait(module: str) -> None:
    """It can be tested without a loop and used from anywhere."""
    tree = ast.parse((ROOT / module).read_bytes())
    waits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, waits)]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of each import anywhere in the file, also inside functions."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def private_names(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each import of a private name, and each use of one that is not the object's own."""
    own = re.compile(r"(self|cls|super\(\))")
    for line, name in imports(path):
        if any(part.startswith("_") and not part.startswith("__") for part in name.split(".")):
            yield line, name
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if not isinstance(node, ast.Attribute) or own.match(ast.unparse(node.value)):
            continue
        if node.attr.startswith("_") and not node.attr.startswith("__"):
            yield node.lineno, ast.unparse(node)


def test_a_worker_reaches_a_model_by_public_names_alone() -> None:
    """A private name of a library may change with any of its releases."""
    names = [
        f"{path.relative_to(ROOT)}:{line} uses {name}"
        for path in modules_of("worker")
        for line, name in private_names(path)
        # arq's worker has no public way to be woken; the underscore of `os._exit` is no sign of a private name.
        if path.name != "worker.py" and name != "os._exit"
    ]
    assert not names, "\n".join(names)


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
