"""The lines of `readalong doctor`."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from readalong.cli.doctor.check import Check
from readalong.cli.render.status_screen import wrapped
from readalong.cli.sanitize import one_line

_STYLES: Final = {"ok": "green", "info": "cyan", "warning": "yellow", "critical": "bold red", "skipped": "dim"}
_INDENT: Final = " " * 22


def check_lines(check: Check, width: int) -> list[Text]:
    """Returns what was found, and what to do."""
    result = (f"{check.result:<10}", _STYLES[check.result])
    head = Text.assemble(result, f"{one_line(check.name, 20):<12}", check.detail)
    lines = [wrapped(head, width, _INDENT)]
    if check.action:
        # A command that is folded could not be copied: the terminal folds it, without a newline.
        lines.append(Text.assemble(_INDENT, ("→ ", "bold"), (check.action, "cyan")))
    return lines
