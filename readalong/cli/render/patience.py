"""A sign of life on the terminal for what takes longer than a second."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.text import Text

from readalong.cli.render.terminal import Terminal
from readalong.cli.sanitize import one_line

#: Seconds after which a person wonders.
PATIENCE: Final = 1.0


@contextmanager
def patience(line: str) -> Iterator[None]:
    """Shows `line` with a spinner on stderr, if the block takes longer and stderr is a terminal."""
    console = Terminal(stderr=True, highlight=False)
    if not console.is_terminal:
        yield
        return
    status = console.status(Text(one_line(line), style="dim"))
    timer = threading.Timer(PATIENCE, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()
