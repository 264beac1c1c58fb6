"""The error that ends a command."""

from __future__ import annotations


class CliError(Exception):
    """One line for stderr, and the exit code of the command."""

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
