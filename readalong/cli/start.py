"""The first code of every command: what must hold before the imports, which take their time."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType

from readalong.core.sanitize import harmless
from readalong.process.signals import ignore_reports


def main() -> None:
    """Runs the console command; does not return."""
    ignore_reports()
    # Before Typer is imported, whose own hook ends in the one that it finds.
    sys.excepthook = _show_traceback
    from readalong.cli.main import app  # noqa: PLC0415

    app(prog_name="readalong")


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A traceback quotes what others sent, and is read in terminals."""
    sys.stderr.write(harmless("".join(traceback.format_exception(kind, error, trace))))
