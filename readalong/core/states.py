"""The life of a job: its states and the moves between them.

queued → running → done | failed | cancelled, and running → running with the next attempt when the worker is lost.
A queued job is cancelled, or fails when its deadline passes, without having run.
The Lua scripts make these moves; this module says which are legal, and the tests hold the two together.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """The state of a job, as its hash and its JSON name it."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: States that nothing leaves, in the order in which they are shown. A log ends with an event of the same name.
ENDS: Final = (Status.DONE, Status.FAILED, Status.CANCELLED)
TERMINAL: Final = frozenset(ENDS)

_MOVES: Final[dict[Status, frozenset[Status]]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.RUNNING, *TERMINAL}),
    Status.DONE: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}


def can_move(before: Status, after: Status) -> bool:
    """Returns whether a job may go from `before` to `after`; running → running is the next attempt."""
    return after in _MOVES[before]
