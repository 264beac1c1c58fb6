"""The table, for the terminal and for README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.report.row import Row
from bench.report.rows import rows

README: Final = Path(__file__).parents[1] / "README.md"
BEGIN: Final = "<!-- table: written by `python -m bench` -->\n"
END: Final = "<!-- end of table -->\n"

_HEADS: Final = ("", "wanted", "readalong", "the others", "ratio", "")
_HELD: Final = {None: "", True: "held", False: "**missed**"}


def show(found: dict[str, Any], console: Console) -> None:
    """Prints the table."""
    table = Table(show_lines=False)
    for place, head in enumerate(_HEADS):
        table.add_column(head, justify="right" if place in (2, 4) else "left")
    colours = {None: "", True: "green", False: "red"}
    for row in rows(found):
        table.add_row(*(cell.strip("*") for cell in _cells(row)), style=colours[row.held])
    console.print(table)
    console.print(where(found), highlight=False)


def where(found: dict[str, Any]) -> str:
    """Returns date, machine, versions and skipped contenders, in one paragraph."""
    machine = found["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    missing = "".join(f" Left out: {name} ({why})." for name, why in found["missing"].items())
    length = "A quick run" if found["quick"] else "A full run"
    return (
        f"{length} of {found['wall_seconds']:.0f} s, {found['date'][:10]}; {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['system']}; load before the run {found['load_before']:.1f}; {versions}.{missing}"
    )


def markdown(found: dict[str, Any]) -> str:
    """Returns the part of README.md between its marks."""
    lines = ["| " + " | ".join(_HEADS) + " |", "| --- | --- | ---: | --- | ---: | --- |"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows(found)]
    return "\n".join(lines) + f"\n\n{where(found)}\n"


def write_readme(found: dict[str, Any]) -> None:
    """Writes the table into README.md."""
    text = README.read_text("utf-8")
    before, rest = text.split(BEGIN)
    README.write_text(before + BEGIN + markdown(found) + END + rest.split(END)[1], "utf-8")


def _cells(row: Row) -> tuple[str, ...]:
    return (row.what, row.wanted, row.ours, row.others, row.ratio, _HELD[row.held])
