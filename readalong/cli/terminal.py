"""A console whose terminal may go away."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console


class Terminal(Console):
    """Raises BrokenPipeError where Rich would raise SystemExit when the reader of its pipe has gone."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError

    def tell(self, *what: Any) -> None:
        """Prints, unfolded; prints nothing more when the terminal is closed or the pipe has no reader."""
        try:
            # soft_wrap: a line that Rich has folded could not be copied.
            self.print(*what, soft_wrap=True)
        except OSError:
            self.quiet = True
            # What is still buffered would be an error at each flush.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
