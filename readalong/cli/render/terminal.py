"""A console whose terminal may be closed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, Self

from rich.console import Console
from rich.text import Text


class Terminal(Console):
    """A console for commands.

    A pipe without a reader raises BrokenPipeError, where Rich would raise SystemExit.
    """

    @classmethod
    def for_tables(cls) -> Self:
        """Returns stdout, as wide as its terminal. A pipe has no width and gets lines that are not cut."""
        wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 1000
        return cls(highlight=False, width=wide)

    def lines(self, lines: Iterable[Text]) -> None:
        """Prints lines that were made to fit; a longer one is folded by the terminal, not cut."""
        for line in lines:
            self.print(line, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError

    def say(self, *parts: Any) -> None:
        """Prints an unfolded line. After the terminal was closed, or the reader of the pipe, prints nothing more."""
        try:
            # soft_wrap: a line that Rich has folded could not be copied.
            self.print(*parts, soft_wrap=True)
        except OSError:
            self.quiet = True
            # The rest of the buffer would be an error at each flush.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
