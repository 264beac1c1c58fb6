"""The rules of the house: who may import whom, which modules do no I/O, where names in Redis come from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("readalong", "api", "worker", "cli", "demomodel")

#: Which of our packages each package may import, besides itself.
MAY_IMPORT: dict[str, set[str]] = {
    "readalong": set(),
    "api": {"readalong"},
    "worker": {"readalong"},
    "demomodel": set(),
    "cli": {"readalong", "api", "worker", "demomodel"},
}

PURE = (
    "readalong/entries.py",
    "readalong/events.py",
    "readalong/states.py",
    "readalong/keys.py",
    "readalong/fold.py",
    "readalong/sse.py",
    "readalong/terms.py",
    "worker/answer.py",
    "worker/chunks.py",
)
PURE_FOLDERS = ("api/formats",)

#: Packages that do I/O, or wait for it.
IO = {
    "aiohttp",
    "anyio",
    "asyncio",
    "httpx2",
    "openai",
    "redis",
    "selectors",
    "socket",
    "subprocess",
    "threading",
    "uvicorn",
}


def modules_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


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


def file_of(name: str) -> Path | None:
    """The module of ours that a dotted name is, or is in; None when it is not ours."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return None
    for end in range(len(parts), 0, -1):
        stem = ROOT.joinpath(*parts[:end])
        if stem.with_suffix(".py").is_file():
            return stem.with_suffix(".py")
        if (stem / "__init__.py").is_file():
            return stem / "__init__.py"
    return None


def pure_modules() -> list[str]:
    found = [str(path.relative_to(ROOT)) for folder in PURE_FOLDERS for path in modules_of(folder)]
    return [*PURE, *(found or [f"{folder}/*.py" for folder in PURE_FOLDERS])]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_its_place_in_the_house_allows(package: str) -> None:
    """api → readalong ← worker, and cli may import all; api and worker meet in Redis only."""
    assert modules_of(package), f"the package {package} is missing"
    outside = {*PACKAGES, "tests", "bench"} - MAY_IMPORT[package] - {package}
    broken = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules_of(package)
        for line, name in imports(path)
        if name.split(".")[0] in outside
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("module", pure_modules())
def test_a_pure_module_neither_does_io_nor_waits(module: str) -> None:
    """It can be tested without a loop and used from anywhere; what it imports of ours is as pure as it is."""
    assert (ROOT / module).is_file(), f"{module} is missing"
    todo, seen, broken = [ROOT / module], set(), []
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        where = path.relative_to(ROOT)
        for line, name in imports(path):
            if name.split(".")[0] in IO:
                broken.append(f"{where}:{line} imports {name}")
            if (ours := file_of(name)) is not None:
                todo.append(ours)
        broken += [
            f"{where}:{node.lineno} waits"
            for node in ast.walk(ast.parse(path.read_bytes()))
            if isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith)
        ]
    assert not broken, "\n".join(broken)


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
        if path.name != "woken.py" and name != "os._exit"
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
        for package in PACKAGES
        for path in modules_of(package)
        if path.relative_to(ROOT).as_posix() not in ("readalong/keys.py", "readalong/settings.py")
        for line, text in texts(path)
        if name.search(text)
    ]
    code = re.compile(r"^[^-]*readalong:", re.MULTILINE)  # before any comment
    broken += [
        f"{path.relative_to(ROOT)} names a key"
        for path in sorted((ROOT / "readalong" / "lua").glob("*.lua"))
        if code.search(path.read_text("utf-8"))
    ]
    assert not broken, "\n".join(broken)
