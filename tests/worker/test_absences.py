"""A worker counts as missing only after a whole window of looks. The test has a clock of its own."""

from __future__ import annotations

import pytest

from readalong.worker.dead_workers import Absences

WINDOW = 1.5
EVERY = 0.5


class Observer:
    """Looks as `DeadWorkers` does. `here`: the connections of each worker."""

    def __init__(self) -> None:
        self.absences = Absences("me", WINDOW)
        self.now = 1000.0
        self.here = {"me": 1, "other": 1}

    def look(self, *, after: float = EVERY, took: float = 0.001) -> list[str]:
        self.now += after
        asked = self.now
        self.now += took
        return self.absences.look(asked, self.now, self.here)


@pytest.fixture
def observer() -> Observer:
    """Returns an observer that has seen all workers for a while."""
    observer = Observer()
    for _ in range(5):
        assert observer.look() == []
    return observer


def test_a_worker_that_is_missing_at_each_look_of_a_window_is_found_once_in_each(observer: Observer) -> None:
    observer.here["other"] = 0
    assert observer.absences.every == EVERY
    assert [observer.look() for _ in range(8)] == [[], [], [], ["other"], [], [], [], ["other"]]


def test_a_worker_that_is_seen_in_between_is_missing_anew(observer: Observer) -> None:
    found = []
    for count in (0, 0, 0, 1, 0, 0, 0):
        observer.here["other"] = count
        found += observer.look()
    assert found == []
    assert observer.look() == ["other"]


def test_one_that_has_left_the_registry_is_not_missing(observer: Observer) -> None:
    observer.here["other"] = 0
    observer.look()
    del observer.here["other"]
    for _ in range(5):
        assert observer.look() == []


def test_a_look_before_a_pause_and_one_after_it_are_no_window(observer: Observer) -> None:
    """The observer was paused for half a minute: its earlier looks do not cover that time."""
    observer.here["other"] = 0
    observer.look()
    observer.look()
    assert [observer.look(after=30), *(observer.look() for _ in range(3))] == [[], [], [], ["other"]]


def test_an_answer_that_was_read_late_is_no_look(observer: Observer) -> None:
    """The pause came between the question and the reading: the reply is as old as the pause is long."""
    observer.here["other"] = 0
    for _ in range(3):
        observer.look()
    assert observer.look(took=30) == []
    assert [observer.look() for _ in range(4)] == [[], [], [], ["other"]]


def test_no_worker_is_missing_while_the_observer_is_not_to_be_seen_itself(observer: Observer) -> None:
    """After a restart or a failover of Redis, connections come back one after the other."""
    observer.here = {"me": 0, "other": 0}
    for _ in range(10):
        assert observer.look() == []
    observer.here["me"] = 1
    assert [observer.look() for _ in range(4)] == [[], [], [], ["other"]]


def test_no_worker_is_missing_by_looks_that_failed_in_between(observer: Observer) -> None:
    observer.here["other"] = 0
    for _ in range(3):
        observer.look()
    observer.absences.reset()
    assert [observer.look() for _ in range(4)] == [[], [], [], ["other"]]
