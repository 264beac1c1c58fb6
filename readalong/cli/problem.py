"""The error that ends a command."""

from __future__ import annotations


class Problem(Exception):
    """One line for a person, and the exit code of the command."""

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
