"""The question of `readalong ask`: its words, and what a pipe brings."""

from __future__ import annotations

import os
import select
import stat
import sys
from typing import Final

import typer

from readalong.cli.errors import CliError
from readalong.cli.exit_codes import MISUSE

#: Seconds without input after which the terminal says what is waited for.
_PATIENCE: Final = 1.0


def read_question(words: list[str]) -> str:
    """Returns the words, and below them the text of a pipe or file at stdin. Raises CliError if there is neither.

    `-` stands for the text of stdin, also of a terminal.
    """
    wants_stdin = "-" in words or not words
    if not words and (sys.stdin is None or sys.stdin.isatty()):
        raise CliError("what shall be asked? Give a question, or pipe one in", code=MISUSE)
    question = " ".join(word for word in words if word != "-")
    text = _read_stdin() if wants_stdin or _has_input() else ""
    whole = "\n\n".join(part for part in (question, text.strip("\n")) if part.strip())
    if not whole:
        raise CliError("the question is empty", code=MISUSE)
    return whole


def _has_input() -> bool:
    """Returns whether stdin is a pipe or a file; /dev/null, a terminal and a socket are neither."""
    if sys.stdin is None:
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):  # closed, or a test's
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _read_stdin() -> str:
    try:
        ready = select.select([sys.stdin], [], [], _PATIENCE)[0]
    except (OSError, ValueError):  # no file descriptor: what is there, is there
        ready = [sys.stdin]
    if not ready:
        typer.echo("reading the question from stdin, up to its end", err=True)
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise CliError("stdin is not text in UTF-8", code=MISUSE) from None
