"""A broken way to the model explains its effects on the jobs of its own worker; and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import planted_faults
from tests.chaos.checker import Rule
from tests.chaos.clean_history import clean_history
from tests.chaos.history_builder import START, HistoryBuilder
from tests.chaos.test_checker_excuses import WORKER, fails, rules

KINDS = ("model_cut", "model_silent", "model_slow")
#: The worker of z1.
OWN = 9


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("model_cut", "model_cut"),
        ("model_cut", "model_unreachable"),
        ("model_cut", "model_timeout"),
        ("model_silent", "model_cut"),
        ("model_silent", "model_unreachable"),
        ("model_silent", "model_timeout"),
        ("model_silent", "model_stalled"),
        ("model_slow", "model_timeout"),
    ],
)
def test_a_broken_way_explains_the_end_of_its_own_workers_job_while_it_is_broken(
    kind: str, code: str, tmp_path: Path
) -> None:
    builder = clean_history()
    builder.run["settings"]["READALONG_STALL_TIMEOUT"] = "1"
    fails(builder, code)
    builder.fault(kind, 100.2, 100.7, "all", pids=[OWN + 1, OWN])
    assert rules(builder, tmp_path) == []
    line = builder.line(kind=kind)
    line["pids"] = [OWN + 1]
    assert rules(builder, tmp_path) == [Rule.UNDISTURBED]
    line.update(pids=[OWN], t=START + 97.5, until=START + 98.5)
    assert rules(builder, tmp_path) == [Rule.UNDISTURBED]
    line.update(t=START + 101.2, until=START + 102.0)
    assert rules(builder, tmp_path) == [Rule.UNDISTURBED]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "code", ["worker_lost", "redis_outage", "internal_error", "deadline_exceeded", "model_error", "model_malformed"]
)
def test_a_broken_way_explains_no_end_of_another_kind(kind: str, code: str, tmp_path: Path) -> None:
    builder = clean_history()
    fails(builder, code, on_worker_lost="fail")
    builder.fault(kind, 60.0, 130.0, "worker-1", pids=[OWN])
    assert rules(builder, tmp_path) == [Rule.FAILURE]


@pytest.mark.parametrize(("kind", "code"), [("model_cut", "model_stalled"), ("model_slow", "model_cut")])
def test_each_explains_its_own_only(kind: str, code: str, tmp_path: Path) -> None:
    builder = clean_history()
    fails(builder, code)
    builder.fault(kind, 99.0, 130.0, "worker-1", pids=[OWN])
    assert rules(builder, tmp_path) == [Rule.FAILURE]


def test_a_short_silence_makes_no_model_stall(tmp_path: Path) -> None:
    builder = clean_history()
    builder.run["settings"]["READALONG_STALL_TIMEOUT"] = "3"
    fails(builder, "model_stalled")
    builder.fault("model_silent", 99.5, 100.5, "worker-1", pids=[OWN])
    assert rules(builder, tmp_path) == [Rule.FAILURE]
    builder.line(kind="model_silent")["until"] = START + 101.6
    assert rules(builder, tmp_path) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_way_explains_a_time_out_of_the_job_once_its_time_is_over(kind: str, tmp_path: Path) -> None:
    builder = clean_history()
    fails(builder, "job_timeout")
    builder.fault(kind, 100.2, 101.0, "worker-1", pids=[OWN])
    assert rules(builder, tmp_path) == [Rule.FAILURE]
    builder.log("z1")["hash"]["ended_at"] = str(int((START + 112.2) * 1000))
    assert rules(builder, tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "pid", "t", "excused"),
    [
        ("model_silent", WORKER, 0.9, True),
        ("model_silent", WORKER + 1, 0.9, False),
        ("model_silent", WORKER, 80.0, False),
        ("model_silent", WORKER, 2.1, False),
        ("model_cut", WORKER, 0.9, False),
        ("model_slow", WORKER, 0.9, False),
    ],
)
def test_only_a_silent_way_keeps_a_close_from_the_model_and_only_its_own_workers(
    kind: str, pid: int, t: float, excused: bool, tmp_path: Path
) -> None:
    """j1 ended at 1.05; its call was closed at 2.2."""
    builder = clean_history()
    planted_faults.outlived_its_job(builder)
    builder.fault(kind, t, t + 1, "all", pids=[pid, 4711])
    assert rules(builder, tmp_path) == ([] if excused else [Rule.OUTLIVED])


def test_a_close_comes_soon_after_the_silence(tmp_path: Path) -> None:
    builder = clean_history()
    builder.line(kind="closed", call="j1.1")["t"] = START + 4.0
    builder.fault("model_silent", 0.9, 1.9, "worker-1", pids=[WORKER])
    assert rules(builder, tmp_path) == [Rule.OUTLIVED]


def broken_ways(builder: HistoryBuilder) -> None:
    for kind in KINDS:
        builder.fault(kind, -10.0, 500.0, "all", pids=[8, 9, *range(101, 114)])


@pytest.mark.parametrize(
    "planted",
    [
        planted_faults.forgotten_cancel,
        planted_faults.an_orphan_that_was_watched,
        planted_faults.cancelled_without_a_cancel,
        planted_faults.never_ended,
        planted_faults.lost_job,
        planted_faults.gave_up,
        planted_faults.one_call_too_many,
        planted_faults.never_closed,
        planted_faults.text_of_no_call,
        planted_faults.lost_for_a_client,
    ],
)
def test_broken_ways_excuse_nothing_else(planted: planted_faults.PlantedFault, tmp_path: Path) -> None:
    """All ways are broken in all manners, the whole time."""
    builder = clean_history()
    planted(builder)
    caught = rules(builder, tmp_path)
    assert len(caught) == 1
    broken_ways(builder)
    assert rules(builder, tmp_path) == caught
