"""The report of a run: its counts, its troubles, and the checker's findings."""

from __future__ import annotations

from tests.chaos.checker import check
from tests.chaos.history import History


def verdict(history: History) -> tuple[str, bool]:
    """Returns the report, and whether the run was clean. The history's files are closed by now."""
    report = check(history.directory)
    counts = ", ".join(f"{number} {kind}" for kind, number in sorted(history.counts.items()))
    troubles = [f"trouble: {trouble}" for trouble in history.troubles]
    return "\n".join([counts, *troubles, str(report)]), not (troubles or report.violations)
