"""The entry point of the console command: the guards that must precede all other imports."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType

from readalong.core.sanitize import harmless
from readalong.process.signals import ignore_reports


def main() -> None:
    """Runs the console command. Does not return."""
    ignore_reports()
    # Typer's own hook ends in the hook that it finds when it is imported.
    sys.excepthook = _print_traceback
    from readalong.cli.main import app  # noqa: PLC0415

    app(prog_name="readalong")


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints a traceback without control characters: it may quote foreign text."""
    sys.stderr.write(harmless("".join(traceback.format_exception(kind, error, trace))))
