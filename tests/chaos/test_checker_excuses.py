"""A fault excuses its effects, where and when they may occur, and never order, gaps, repeats, ends and zombies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import planted_faults
from tests.chaos.checker import Rule, check
from tests.chaos.clean_history import QUEUED, clean_history, end, failed
from tests.chaos.history_builder import START, HistoryBuilder, begun, dumped, said, tokens

Change = Callable[[HistoryBuilder], None]

#: The worker that ran j1 and j9 in the clean history.
WORKER = 103


def rules(builder: HistoryBuilder, directory: Path) -> list[Rule]:
    return [violation.rule for violation in check(builder.write(directory)).violations]


def fault(kind: str, t: float, until: float | None, target: str = "worker-3", **fields: Any) -> Change:
    return lambda builder: builder.fault(kind, t, until, target, **fields)


def lag(t: float, seconds: float) -> Change:
    return lambda builder: builder.faults.append({"t": START + t, "kind": "lag", "seconds": seconds})


#: j1 ended at 1.05; its call was closed at 2.2.
LATE_CLOSE: list[tuple[str, Change, bool]] = [
    ("its worker was stopped", fault("worker_stop", 0.9, 2.0, pid=WORKER), True),
    ("another worker was stopped", fault("worker_stop", 0.9, 2.0, pid=WORKER + 1), False),
    ("its worker was stopped far away in time", fault("worker_stop", 80.0, 81.0, pid=WORKER), False),
    ("its worker was stopped later", fault("worker_stop", 2.3, 2.4, pid=WORKER), False),
    ("its worker was killed", fault("worker_kill", 0.9, 2.0, pid=WORKER), False),
    ("its worker was drained", fault("worker_drain", 0.9, 2.0, pid=WORKER), False),
    ("a worker was cut off", fault("proxy_silent", 0.9, 2.0), True),
    ("its worker was cut off", fault("proxy_silent", 0.9, 2.0, pid=WORKER), True),
    ("another worker was cut off", fault("proxy_silent", 0.9, 2.0, pid=WORKER + 1), False),
    ("a worker was cut off and never healed", fault("proxy_silent", 0.9, None), True),
    ("a worker was cut off far away in time", fault("proxy_silent", 80.0, 81.0), False),
    ("an API was cut off", fault("proxy_silent", 0.9, 2.0, "api-0"), False),
    ("an API was killed", fault("api_kill", 0.9, 2.0, "api-0"), False),
    ("Redis was away", fault("redis_kill", 0.9, 2.0, "redis"), True),
    ("Redis was full", fault("redis_full", 0.9, 2.0, "redis"), True),
    ("a connection was killed", fault("client_kill", 0.9, None, "redis"), False),
    ("the machine was busy", lag(1.5, 1.0), True),
    ("the machine was not as busy", lag(1.5, 0.1), False),
    ("the machine was busy far away in time", lag(80.0, 1.0), False),
]


@pytest.mark.parametrize(("change", "excused"), [case[1:] for case in LATE_CLOSE], ids=[case[0] for case in LATE_CLOSE])
def test_a_late_close_is_excused_only_by_what_kept_its_worker(change: Change, excused: bool, tmp_path: Path) -> None:
    builder = clean_history()
    planted_faults.outlived_its_job(builder)
    change(builder)
    assert rules(builder, tmp_path) == ([] if excused else [Rule.OUTLIVED])


def test_a_call_of_a_second_job_of_one_submit_has_the_time_of_that_job(tmp_path: Path) -> None:
    """Redis loses the claim of a key, and a repeat makes another job."""
    builder = clean_history()
    first, second = tokens("z1", 1, 3), tokens("z1", 2, 3)
    planted_faults.alone(builder, [QUEUED, begun("started", 1, 9), *said(first), end("done", first)], first)
    log = [QUEUED, begun("started", 1, 9), *said(second), end("done", second)]
    builder.call("z1.2", 109.1, 110.0, second)
    builder.job("z2", log, 100.0, 110.0)
    builder.log("z2")["hash"]["request"] = builder.log("z1")["hash"]["request"]
    builder.logs.reverse()
    builder.fault("redis_forget", 100.0, 100.2, "redis", since=START + 100.0)
    assert rules(builder, tmp_path) == []
    builder.line(kind="closed", call="z1.2")["t"] = START + 150.0
    assert rules(builder, tmp_path) == [Rule.OUTLIVED]


def test_a_worker_that_goes_on_again_has_little_time_left(tmp_path: Path) -> None:
    """A fault excuses until it is over and its end was noticed, and not for ever."""
    builder = clean_history()
    builder.line(kind="closed", call="j1.1")["t"] = START + 9.0
    builder.fault("worker_stop", 0.9, 2.0, pid=WORKER)
    assert rules(builder, tmp_path) == [Rule.OUTLIVED]


def moved(kinds: str, seconds: float) -> Change:
    def change(builder: HistoryBuilder) -> None:
        for line in builder.faults:
            if line["kind"] == kinds:
                line["t"] += seconds
                line["until"] += seconds

    return change


@pytest.mark.parametrize("seconds", [-200.0, 200.0])
def test_lost_workers_explain_nothing_at_another_time(seconds: float, tmp_path: Path) -> None:
    builder = clean_history()
    moved("worker_kill", seconds)(builder)
    assert set(rules(builder, tmp_path)) == {Rule.UNDISTURBED, Rule.NOTICED}


def test_other_workers_explain_no_lost_one(tmp_path: Path) -> None:
    builder = clean_history()
    for line in builder.faults:
        if line["kind"] == "worker_kill":
            line["pid"] += 1000
    assert set(rules(builder, tmp_path)) == {Rule.UNDISTURBED, Rule.NOTICED}


def test_a_job_that_wants_no_retry_fails_with_its_first_worker(tmp_path: Path) -> None:
    builder = clean_history()
    planted_faults.lost_too_early(builder)
    builder.line(kind="submit", tag="z1")["terms"] = {"on_worker_lost": "fail"}
    assert rules(builder, tmp_path) == []


OUTAGES: list[tuple[str, dict[str, Any], Rule]] = [
    ("too short", {"until": START + 50.0}, Rule.FAILURE),
    ("far away in time", {"t": START + 240.0, "until": START + 270.0}, Rule.UNDISTURBED),
    ("of an API", {"target": "api-1"}, Rule.FAILURE),
    ("a drain", {"kind": "worker_drain", "pid": WORKER}, Rule.FAILURE),
]


@pytest.mark.parametrize(("changes", "rule"), [case[1:] for case in OUTAGES], ids=[case[0] for case in OUTAGES])
def test_an_outage_is_explained_only_by_one_as_long_as_the_limit(
    changes: dict[str, Any], rule: Rule, tmp_path: Path
) -> None:
    builder = clean_history()
    builder.line(kind="closed", call="j9.1")["t"] = builder.line(kind="request", call="j9.1")["t"] + 1
    builder.line(kind="proxy_silent").update(changes)
    builder.faults = [line for line in builder.faults if line["kind"] != "lag"]
    assert rules(builder, tmp_path) == [rule]


def fails(builder: HistoryBuilder, code: str, **hash: str) -> None:
    texts = tokens("z1", 1, 3)
    log = [QUEUED, begun("started", 1, 9), *said(texts), failed(code, texts)]
    planted_faults.alone(builder, log, tokens("z1", 1, 4), state="gone")
    builder.log("z1")["hash"].update(hash)


def demo(*behaviours: str) -> str:
    return dumped({"demo": {"key": "z1", "behaviour": list(behaviours)}})


@pytest.mark.parametrize(
    ("code", "behaviour"),
    [
        ("model_cut", "cut"),
        ("model_cut", "reset"),
        ("model_cut", "close-early"),
        ("model_stalled", "stall"),
        ("model_timeout", "hang"),
        ("model_timeout", "slow-first-token"),
        ("model_rate_limited", "429"),
        ("model_error", "500"),
        ("model_error", "error"),
        ("model_malformed", "malformed"),
        ("model_malformed", "not-sse"),
        ("job_timeout", "endless"),
    ],
)
def test_a_model_explains_the_failure_that_it_was_told_to_make_and_no_other(
    code: str, behaviour: str, tmp_path: Path
) -> None:
    builder = clean_history()
    fails(builder, code, request=demo("numbered", behaviour))
    assert rules(builder, tmp_path) == []
    builder.log("z1")["hash"]["request"] = demo("numbered", "unicode")
    assert rules(builder, tmp_path) == [Rule.UNDISTURBED]
    builder.log("z1")["hash"]["request"] = demo("error" if behaviour not in ("error", "500") else "cut")
    assert rules(builder, tmp_path) == [Rule.FAILURE]


def test_a_deadline_explains_the_end_after_it_only(tmp_path: Path) -> None:
    builder = clean_history()
    fails(builder, "deadline_exceeded", deadline=str(int((START + 101) * 1000)))
    assert rules(builder, tmp_path) == []
    builder.log("z1")["hash"]["deadline"] = str(int((START + 102) * 1000))
    assert rules(builder, tmp_path) == [Rule.UNDISTURBED]


def test_an_answer_that_takes_longer_than_a_job_may_explains_its_time_out(tmp_path: Path) -> None:
    builder = clean_history()
    fails(builder, "job_timeout")
    assert rules(builder, tmp_path) == [Rule.UNDISTURBED]
    builder.log("z1")["hash"]["ended_at"] = str(int((START + 112.2) * 1000))
    assert rules(builder, tmp_path) == [Rule.UNDISTURBED]
    builder.line(kind="closed", call="z1.1")["t"] = START + 112.1
    assert rules(builder, tmp_path) == []


@pytest.mark.parametrize("behaviour", ["429", "500", "error", "cut", "reset", "close-early"])
def test_a_model_that_must_be_asked_again_explains_a_late_first_token_once_the_time_for_it_is_over(
    behaviour: str, tmp_path: Path
) -> None:
    builder = clean_history()
    fails(builder, "model_timeout", request=demo("numbered", behaviour), ended_at=str(int((START + 106.2) * 1000)))
    assert rules(builder, tmp_path) == [Rule.FAILURE]
    builder.call("z1.2", 103.0, 106.1, [])
    assert rules(builder, tmp_path) == []
    builder.log("z1")["hash"]["ended_at"] = str(int((START + 104.2) * 1000))
    builder.line(kind="closed", call="z1.2")["t"] = START + 104.1
    assert rules(builder, tmp_path) == [Rule.FAILURE]


@pytest.mark.parametrize(
    "planted",
    [
        planted_faults.lost_for_a_client,
        planted_faults.lost_between_connections,
        planted_faults.lost_in_the_log,
        planted_faults.a_repeat,
        planted_faults.a_swap,
        planted_faults.a_second_end_for_a_client,
        planted_faults.a_second_end_in_the_log,
        planted_faults.no_end_for_a_client,
        planted_faults.no_end_in_the_log,
        planted_faults.never_ended,
        planted_faults.lost_job,
        planted_faults.changed_bytes,
        planted_faults.wrong_merged_text,
        planted_faults.gave_up,
        planted_faults.text_of_no_call,
        planted_faults.text_of_another_job,
        planted_faults.zombie,
        planted_faults.zombie_before_its_successor,
        planted_faults.skipped_attempt,
        planted_faults.two_jobs_for_one_key,
        planted_faults.one_call_too_many,
        planted_faults.cancelled_without_a_cancel,
        planted_faults.never_closed,
        planted_faults.left_in_the_queue,
        planted_faults.no_time_to_live,
    ],
)
def test_no_fault_excuses_what_has_no_excuse(planted: Change, tmp_path: Path) -> None:
    """All processes are stopped, cut off and down the whole time, and the machine is busy."""
    builder = clean_history()
    planted(builder)
    caught = rules(builder, tmp_path)
    assert len(caught) == 1
    for kind in ("redis_kill", "redis_stop", "proxy_cut", "proxy_silent", "proxy_slow", "api_kill", "api_drain"):
        builder.fault(kind, -10.0, 500.0, "redis")
    for pid in (8, 9, *range(101, 114)):
        builder.fault("worker_stop", -10.0, 500.0, pid=pid)
    lag(20.0, 400.0)(builder)
    assert rules(builder, tmp_path) == caught
