"""The tables of docs/security.md: each attack has a limit, an existing setting, and an existing test."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

from readalong.core.settings import Settings

_ROOT = Path(__file__).parents[2]
_COLUMNS = ["attack", "limit", "setting", "response", "test"]


def _cells(line: str) -> list[str]:
    """A pipe within backquotes, or behind a backslash, separates no cells."""
    parts = re.split(r"\|(?=(?:[^`]*`[^`]*`)*[^`]*$)", line.strip().strip("|").replace(r"\|", "\0"))
    return [part.strip().replace("\0", "|") for part in parts]


def _tables(text: str) -> list[tuple[str, list[list[str]]]]:
    """Returns the lines of each table, its own head first, with its heading."""
    found: list[tuple[str, list[list[str]]]] = []
    heading, before = "", ""
    for line in text.splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif line.startswith("|"):
            if not before.startswith("|"):
                found.append((heading, []))
            if not re.fullmatch(r"[|\s:-]+", line):
                found[-1][1].append(_cells(line))
        before = line
    return found


TABLES = _tables((_ROOT / "docs" / "security.md").read_text("utf-8"))
ROWS = [pytest.param(row, id=f"{heading}: {row[0]}"[:80]) for heading, rows in TABLES for row in rows[1:]]


@lru_cache
def _tests(path: Path) -> frozenset[str]:
    """Returns the names of the functions in a file that pytest would run."""
    found = (
        node
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return frozenset(node.name for node in found if node.name.startswith("test_"))


def missing(row: list[str]) -> list[str]:
    """Returns the missing parts of a row."""
    if len(row) != len(_COLUMNS):
        return [f"{len(_COLUMNS)} cells: it has {len(row)}"]
    lacks = [name for name, cell in zip(_COLUMNS, row, strict=True) if not cell]
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", row[-1])
    if not named:
        lacks.append("a test, as tests/…::name")
    lacks += [
        f"the test {path}::{name}"
        for path, name in named
        if not (_ROOT / path).is_file() or name not in _tests(_ROOT / path)
    ]
    settings = {name.upper() for name in Settings.model_fields}
    lacks += [
        f"the setting READALONG_{name}"
        for name in re.findall(r"READALONG_(\w+)", " ".join(row))
        if name not in settings
    ]
    return lacks


def test_every_table_has_these_columns() -> None:
    assert TABLES
    assert [(heading, rows[0]) for heading, rows in TABLES] == [(heading, _COLUMNS) for heading, _ in TABLES]


@pytest.mark.parametrize("row", ROWS)
def test_every_attack_has_its_limit_and_its_test(row: list[str]) -> None:
    assert missing(row) == []


def test_a_row_that_names_what_is_not_there_is_found() -> None:
    """Shows that the test above can fail."""
    test = "tests/docs/test_security.py::test_every_table_has_these_columns"
    good = ["An attack", "a limit", "`READALONG_HOSTS`", "421", f"`{test}`"]
    assert missing(good) == []
    assert missing([*good[:4], ""]) == ["test", "a test, as tests/…::name"]
    assert missing([*good[:4], test + "_x"]) == [f"the test {test}_x"]
    assert missing([*good[:4], "tests/nowhere.py::test_x"]) == ["the test tests/nowhere.py::test_x"]
    assert missing([*good[:2], "`READALONG_HOST`", *good[3:]]) == ["the setting READALONG_HOST"]
    assert missing([*good[:2], "", *good[3:]]) == ["setting"]
    assert missing(good[1:]) == ["5 cells: it has 4"]
    assert _cells(r"| a `x | y` b | c \| d |") == ["a `x | y` b", "c | d"]
