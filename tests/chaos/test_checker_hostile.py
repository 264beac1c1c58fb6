"""Hostile jobs fail as documented, and a fault excuses exactly the effects on others that it explains."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from readalong.core.errors import ModelError
from readalong.core.settings import Settings
from readalong.worker.model.breaker import CircuitBreaker
from readalong.worker.model.gate import Gates
from tests.chaos import planted_faults, planted_hostile_faults
from tests.chaos.checker import Rule
from tests.chaos.clean_history import QUEUED, clean_history, failed
from tests.chaos.final_state import shut_times
from tests.chaos.history_builder import START, HistoryBuilder, begun, said, tokens
from tests.chaos.test_checker_excuses import fault, lag, rules

Change = Callable[[HistoryBuilder], None]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("line", "model_answer_too_large"),
        ("deep", "model_malformed"),
        ("garbage", "model_malformed"),
        ("garbage", "model_unreachable"),
        ("refusal", "model_bad_request"),
        ("redirect-loop", "model_redirected"),
        ("silence", "model_timeout"),
        ("dribble", "job_timeout"),
    ],
)
def test_a_job_of_a_hostile_model_fails_with_the_code_of_what_it_answers(kind: str, code: str, tmp_path: Path) -> None:
    builder = clean_history()
    texts = tokens("z1", 1, 3)
    log = [QUEUED, begun("started", 1, 9), *said(texts), failed(code, texts)]
    planted_faults.alone(builder, log, tokens("z1", 1, 4), state="gone")
    builder.log("z1")["hash"]["model"] = f"hostile-{kind}"
    assert rules(builder, tmp_path) == []
    builder.log("z1")["hash"]["model"] = "hostile-text" if kind != "line" else "hostile-deep"
    assert rules(builder, tmp_path) == [Rule.FAILURE]


def lags(*times: float) -> Change:
    """Delays of 0.4 s; a lease is 1.5 s."""

    def change(builder: HistoryBuilder) -> None:
        for t in times:
            lag(t, 0.4)(builder)

    return change


#: The faults that may explain an effect on z1, and whether they do, by the planted effect. z1 lived from 100 to 101, in
#: process 9 and then in 8; it waited in 9.
NOTICED: dict[Change, dict[str, tuple[Change, bool]]] = {
    planted_hostile_faults.begun_again_though_no_worker_was_lost: {
        "its worker was killed": (fault("worker_kill", 100.1, 100.2, pid=9), True),
        "another worker was killed": (fault("worker_kill", 100.1, 100.2, pid=7), False),
        "an API was killed": (fault("api_kill", 100.1, 100.2, "api-0", pid=9), False),
        "the machine was busy, in pieces that cost half a lease": (lags(100.1, 100.6), True),
        "the machine was busy for a quarter of a lease": (lags(100.1), False),
        "the machine was busy, in pieces that are leases apart": (lags(100.1, 103.0), False),
    },
    planted_hostile_faults.given_back_though_no_worker_was_stopped: {
        "Redis was away, so that its worker lost the lease and gave it back": (
            fault("redis_kill", 100.1, 100.2, "redis"),
            True,
        ),
        "its worker's way to Redis was cut": (fault("proxy_cut", 100.1, 100.2, "worker-3", pid=9), True),
        "another worker's way to Redis was cut": (fault("proxy_cut", 100.1, 100.2, "worker-2", pid=7), False),
        "an API's way to Redis was cut, which costs no lease": (fault("proxy_cut", 100.1, 100.2, "api-0"), False),
        "its worker's way to the models was cut, for which none gives a job back": (
            fault("model_cut", 100.1, 100.2, pids=[9]),
            False,
        ),
    },
    planted_hostile_faults.begun_again_though_its_model_did_not_stall: {
        "its worker stood still, and found the time limit passed": (fault("worker_stop", 100.1, 100.2, pid=9), True),
        "another worker stood still": (fault("worker_stop", 100.1, 100.2, pid=7), False),
        "its worker was killed, and finds nothing any more": (fault("worker_kill", 100.1, 100.2, pid=9), False),
    },
    planted_hostile_faults.sent_away_for_another_ones_model: {
        "its worker stood still, which is no time limit": (fault("worker_stop", 100.1, 100.2, pid=9), False),
        "its worker was killed, which causes no redirect": (fault("worker_kill", 100.1, 100.2, pid=9), False),
    },
    planted_hostile_faults.kept_waiting_by_another_ones_model: {
        "its worker's way to the models was cut before": (fault("model_cut", 95.0, 97.0, pids=[9]), True),
        "its worker's way was cut long before": (fault("model_cut", 75.0, 77.0, pids=[9]), False),
        "another worker's way was cut": (fault("model_cut", 100.1, 100.2, pids=[7]), False),
        "Redis was down, which keeps no worker from a model": (fault("redis_kill", 100.1, 100.2, "redis"), False),
    },
}


@pytest.mark.parametrize(
    ("planted", "change", "excused"),
    [pytest.param(planted, *case, id=why) for planted, cases in NOTICED.items() for why, case in cases.items()],
)
def test_an_effect_on_a_job_is_excused_only_by_a_fault_that_explains_it(
    planted: Change, change: Change, excused: bool, tmp_path: Path
) -> None:
    builder = clean_history()
    planted(builder)
    change(builder)
    assert rules(builder, tmp_path) == ([] if excused else [Rule.NOTICED])


#: worker-3 took nothing from 70 to 79.5, half a second longer than allowed.
SHUT: list[tuple[str, Change, bool]] = [
    ("Redis was away", fault("redis_kill", 74.0, 75.0, "redis"), True),
    ("it was stopped", fault("worker_stop", 74.0, 75.0, "worker-3", pid=103), True),
    ("its way to the models was slow", fault("model_slow", 74.0, 75.0, "all", pids=[103]), True),
    ("another worker was stopped", fault("worker_stop", 74.0, 75.0, "worker-2", pid=102), False),
    ("an API was stopped", fault("api_stop", 74.0, 75.0, "api-0", pid=50), False),
]


@pytest.mark.parametrize(("change", "excused"), [case[1:] for case in SHUT], ids=[case[0] for case in SHUT])
def test_a_worker_may_take_nothing_for_longer_only_if_something_keeps_it(
    change: Change, excused: bool, tmp_path: Path
) -> None:
    builder = clean_history()
    planted_hostile_faults.a_worker_that_took_nothing_for_long(builder)
    change(builder)
    assert rules(builder, tmp_path) == ([] if excused else [Rule.SHUT])


def test_when_nothing_is_submitted_any_more_no_worker_need_take_anything(tmp_path: Path) -> None:
    builder = clean_history()
    builder.shut(89.0, None)
    assert rules(builder, tmp_path) == []


def test_a_request_without_an_end_is_excused_by_what_its_own_api_suffered(tmp_path: Path) -> None:
    for target, broken in (("api-0", []), ("api-1", [Rule.ATTACK])):
        builder = clean_history()
        planted_hostile_faults.a_request_without_an_end(builder)
        builder.fault("api_stop", 94.6, 94.9, target)
        assert rules(builder, tmp_path) == broken


def test_a_key_that_redis_forgot_may_be_used_again(tmp_path: Path) -> None:
    builder = clean_history()
    builder.submit("z1", 100.0)
    builder.attack("other-body", 100.2, 202, job="id-z1", made="id-z2")
    assert Rule.ATTACK in rules(builder, tmp_path)
    builder.fault("redis_forget", 99.9, 100.1, "redis", since=START + 99.9)
    assert rules(builder, tmp_path) == []


async def test_the_times_in_which_a_worker_takes_nothing_are_read_from_its_log(tmp_path: Path) -> None:
    """With the worker's own log lines: a changed message would make every worker seem to take jobs."""
    log = tmp_path / "worker-0.log"
    handler = logging.FileHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("readalong.worker.model.breaker")
    logger.addHandler(handler)
    error = ModelError("model_redirected", "No.", retryable=False, status=302, refuses=True)
    try:
        breaker = CircuitBreaker(Settings(), Gates())
        breaker.record_refusal(error, "theirs", 0.0, 0.0, again=False)
        breaker.record_success()
        CircuitBreaker(Settings(), Gates()).record_refusal(error, "theirs", 0.0, 0.0, again=False)
    finally:
        logger.removeHandler(handler)
        handler.close()
    found: list[dict[str, Any]] = shut_times({"worker-0": log.read_text()})
    assert [(one["worker"], one["code"], one["until"] is None) for one in found] == [
        ("worker-0", "model_redirected", False),
        ("worker-0", "model_redirected", True),
    ]
