"""The states of a job and their transitions, as a table."""

from __future__ import annotations

import pytest

from readalong.core.states import TERMINAL, Status, can_move

LEGAL = {
    (Status.QUEUED, Status.RUNNING),
    (Status.QUEUED, Status.CANCELLED),
    (Status.QUEUED, Status.FAILED),
    (Status.RUNNING, Status.RUNNING),
    (Status.RUNNING, Status.DONE),
    (Status.RUNNING, Status.FAILED),
    (Status.RUNNING, Status.CANCELLED),
}


@pytest.mark.parametrize("before", Status)
@pytest.mark.parametrize("after", Status)
def test_exactly_the_legal_moves_are_allowed(before: Status, after: Status) -> None:
    assert can_move(before, after) is ((before, after) in LEGAL)


def test_nothing_leaves_an_ended_state() -> None:
    assert not any(can_move(before, after) for before in TERMINAL for after in Status)


def test_every_state_but_the_first_can_be_reached() -> None:
    reached = {after for before in Status for after in Status if can_move(before, after)}
    assert reached == set(Status) - {Status.QUEUED}
