"""The exit codes of the commands, for scripts. docs/cli.md lists them."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
#: The job failed, or the call did: no API, an error response, a lost connection.
FAILED: Final = 1
#: A wrong option, an id's beginning that several jobs have, a bad setting.
MISUSE: Final = 2
CANCELLED: Final = 3
#: No such job.
NOT_FOUND: Final = 4
#: The worst of what `status` and `doctor` found.
WARNING: Final = 10
CRITICAL: Final = 11
INTERRUPTED: Final = 130
#: The code that a shell gives to a program that SIGPIPE has ended.
CLOSED_PIPE: Final = 141

_BY_SEVERITY: Final = {"critical": CRITICAL, "warning": WARNING}
_BY_STATUS: Final = {"done": DONE, "failed": FAILED, "cancelled": CANCELLED}
#: What the code of several jobs is, if one of them has it.
_WORST_FIRST: Final = (FAILED, NOT_FOUND, CANCELLED)


def of_status(status: str) -> int:
    """Returns the code of an ended job's status."""
    return _BY_STATUS.get(status, FAILED)


def worst(codes: list[int]) -> int:
    """Returns the code of several jobs: that of the worst end."""
    return next((code for code in _WORST_FIRST if code in codes), DONE)


def of_severities(severities: list[str]) -> int:
    """Returns the code of what was found: that of the worst severity. Information alone is no trouble."""
    return max((_BY_SEVERITY.get(severity, DONE) for severity in severities), default=DONE)
