"""The table of error codes in the docs names the codes of the worker."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

from readalong.worker.attempt_end import LOST
from readalong.worker.model.openai.provider import _CODES

ROOT: Final = Path(__file__).parents[2]


def in_code() -> dict[str, set[bool]]:
    """Yields each code of a failed job, and whether a retry may help, from all places of the worker that make one."""
    found: dict[str, set[bool]] = {}
    for code, retryable in _CODES.values():
        found.setdefault(code, set()).add(retryable)
    for code in LOST:
        found.setdefault(code, set()).add(True)
    found.setdefault("model_error", set()).update((True, False))  # any other status: by its first digit
    for path in sorted((ROOT / "worker").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _makes_one(node):
                (may_help,) = (word.value for word in node.keywords if word.arg == "retryable")
                if isinstance(node.args[0], ast.Constant) and isinstance(may_help, ast.Constant):
                    found.setdefault(str(node.args[0].value), set()).add(bool(may_help.value))
    return found


def _makes_one(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Attribute):  # a subclass
        return call.func.attr == "__init__" and any(word.arg == "retryable" for word in call.keywords)
    return isinstance(call.func, ast.Name) and call.func.id == "ModelError"


def in_docs() -> dict[str, set[bool]]:
    table = (ROOT / "docs" / "protocol.md").read_text().partition("### Codes of a failed job")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE)
    assert len(rows) == len(dict(rows)), "each code once"
    known = {"yes": {True}, "no": {False}}
    return {code: known.get(says, {True, False}) for code, says in rows[1:]}  # the first row is the table's head


def test_every_code_of_a_failed_job_is_in_the_docs_with_whether_to_try_again() -> None:
    """The docs name no other code."""
    assert in_code() == in_docs()
    assert {"job_timeout", "model_timeout", "model_stalled", "model_cut", "model_malformed"} <= set(in_code())
