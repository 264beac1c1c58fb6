"""docs/compatibility.md: each row says how, and names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.test_security import _cells, _tests

_ROOT = Path(__file__).parents[2]
_HOW = frozenset({"supported", "different", "refused"})
ROWS = [
    cells
    for line in (_ROOT / "docs" / "compatibility.md").read_text("utf-8").splitlines()
    if line.startswith("|") and not re.fullmatch(r"[|\s:-]+", line) and (cells := _cells(line))[0] != "what"
]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_says_how_and_names_a_test(row: list[str]) -> None:
    what, how, notes, test = row
    assert what
    assert how in _HOW
    assert notes or how == "supported", "a difference is told"
    named = re.fullmatch(r"`(tests/[\w/]+\.py)::(\w+)`", test)
    assert named is not None, test
    assert named[2] in _tests(_ROOT / named[1]), test


def test_the_table_is_not_empty() -> None:
    assert len(ROWS) > 30
