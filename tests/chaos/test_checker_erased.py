"""An erased job is gone and its watchers end properly; a job without an erase may not be gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.checker import BadHistory, Rule
from tests.chaos.clean_history import clean_history, whole
from tests.chaos.history_builder import START, HistoryBuilder, Record
from tests.chaos.test_checker_excuses import rules

Change = Callable[[HistoryBuilder], None]


def without_erase(builder: HistoryBuilder, tag: str) -> None:
    builder.clients = [line for line in builder.clients if not (line["kind"] == "erase" and line["job"] == f"id-{tag}")]


def still_there(builder: HistoryBuilder) -> None:
    builder.job("j17", whole("j17", 103), 80.0, 81.1)


def seen(builder: HistoryBuilder, tag: str) -> list[int]:
    """Returns the indexes of the events of the job's first watch."""
    return builder.seen(builder.line(kind="open", job=f"id-{tag}")["watch"])


def seen_again(builder: HistoryBuilder) -> None:
    place = seen(builder, "j16")[2]
    builder.clients.insert(place, dict(builder.clients[place]))


def seen_after_the_end(builder: HistoryBuilder) -> None:
    place = seen(builder, "j17")[-1]
    builder.clients.insert(place + 1, {**builder.clients[place], "id": 99})


def closed_without_an_end(builder: HistoryBuilder) -> None:
    del builder.clients[seen(builder, "j17")[-1]]


def gone_but_never_told(builder: HistoryBuilder) -> None:
    builder.line(status=404, kind="open")["status"] = 503


def left_waiting(builder: HistoryBuilder) -> None:
    builder.clients.remove(builder.line(kind="client_end", how="gone"))


def gave_up(builder: HistoryBuilder) -> None:
    builder.line(kind="client_end", how="gone")["how"] = "gave_up"


def a_watcher_told_too_early(builder: HistoryBuilder) -> None:
    builder.line(status=410, kind="open")["t"] = START + 80.8


def a_cancel_answered_too_early(builder: HistoryBuilder) -> None:
    builder.line(kind="cancel", status=404)["t"] = START + 80.8


def the_first_erase_finds_nothing(builder: HistoryBuilder) -> None:
    builder.line(kind="erase", job="id-j16")["status"] = 404


def an_erase_breaks(builder: HistoryBuilder) -> None:
    builder.line(kind="erase", job="id-j17")["status"] = 500


def open_at_the_model(builder: HistoryBuilder) -> None:
    builder.line(kind="closed", call="j16.1")["t"] = START + 82.5


def never_closed(builder: HistoryBuilder) -> None:
    builder.model.remove(builder.line(kind="closed", call="j16.1"))


def left_in_redis(builder: HistoryBuilder) -> None:
    builder.after["traces"].append("readalong:jobs: id-j16")


@pytest.mark.parametrize(
    ("planted", "rule"),
    [
        (still_there, Rule.LEAK),
        (left_in_redis, Rule.LEAK),
        (seen_again, Rule.REPEAT),
        (seen_after_the_end, Rule.SECOND_END),
        (closed_without_an_end, Rule.MISSING_END),
        (gone_but_never_told, Rule.MISSING_END),
        (left_waiting, Rule.GAVE_UP),
        (gave_up, Rule.GAVE_UP),
        (a_watcher_told_too_early, Rule.ANSWER),
        (a_cancel_answered_too_early, Rule.ANSWER),
        (the_first_erase_finds_nothing, Rule.ANSWER),
        (an_erase_breaks, Rule.ANSWER),
        (open_at_the_model, Rule.OUTLIVED),
        (never_closed, Rule.OUTLIVED),
    ],
)
def test_a_planted_fault_of_an_erase_is_caught(planted: Change, rule: Rule, tmp_path: Path) -> None:
    builder = clean_history()
    planted(builder)
    assert set(rules(builder, tmp_path)) == {rule}


TIE = "readalong:idempotency:98727a: id-j16 c0a448"


@pytest.mark.parametrize(
    ("trace", "kind", "begin", "excused"),
    [
        ("arq:retry:id-j16", "proxy_late", 81.0, True),
        (TIE, "proxy_slow", 81.0, True),
        (TIE, "redis_stop", 80.0, True),
        (TIE, "redis_stop", 79.0, False),
        (TIE, "redis_stop", 81.5, False),
        (TIE, "proxy_cut", 81.0, False),
        (f"{TIE} written", "proxy_late", 81.0, False),
        ("arq:job:id-j16", "proxy_late", 81.0, False),
        ("arq:retry:id-j1", "proxy_late", 81.0, False),
    ],
)
def test_a_key_that_one_late_command_writes_is_excused_by_what_made_it_late_in_that_moment(
    trace: str, kind: str, begin: float, excused: bool, tmp_path: Path
) -> None:
    """j16 was erased between 80.9 and 81.4."""
    builder = clean_history()
    builder.after["traces"].append(trace)
    builder.fault(kind, begin, begin + 1.0, "api-0")
    assert rules(builder, tmp_path) == ([] if excused else [Rule.LEAK])


@pytest.mark.parametrize("tag", ["j16", "j17", "j18"])
def test_a_job_without_an_erase_is_lost_and_its_calls_are_of_no_job(tag: str, tmp_path: Path) -> None:
    builder = clean_history()
    without_erase(builder, tag)
    caught = rules(builder, tmp_path)
    assert Rule.LOST_JOB in caught
    assert (Rule.BILL in caught) == (tag != "j18")


def test_an_erase_of_another_job_excuses_nothing(tmp_path: Path) -> None:
    builder = clean_history()
    builder.logs.remove(builder.log("j4"))
    assert rules(builder, tmp_path) == [Rule.LOST_JOB]
    builder.clients.remove(builder.line(kind="cancel", job="id-j4"))
    builder.erase("j4", 20.2)
    assert rules(builder, tmp_path) == []


def test_an_erase_without_a_reply_explains_a_job_that_is_gone_and_one_that_is_not(tmp_path: Path) -> None:
    builder = clean_history()
    builder.clients.remove(builder.line(kind="erase", status=410))
    assert rules(builder, tmp_path) == []
    builder.job("j17", whole("j17", 103), 80.0, 81.1)
    assert rules(builder, tmp_path) == []


def test_a_worker_that_was_stopped_explains_a_call_that_outlives_its_erased_job(tmp_path: Path) -> None:
    builder = clean_history()
    open_at_the_model(builder)
    builder.fault("worker_stop", 80.5, 82.2, pid=103)
    assert rules(builder, tmp_path) == []


def test_a_job_that_never_ended_is_not_excused_by_a_watcher_that_was_told_that_it_is_gone(tmp_path: Path) -> None:
    builder = clean_history()
    client = builder.client("j9", [], 42.0, how="gone")
    builder.watch(client, "id-j9", 42.0, [], after=0, how="refused", status=404)
    assert rules(builder, tmp_path) == [Rule.ANSWER]


def test_a_run_that_did_not_look_for_what_is_left_is_no_history(tmp_path: Path) -> None:
    builder = clean_history()
    traces: list[Record] = builder.after.pop("traces")
    assert not traces
    with pytest.raises(BadHistory, match="left of erased jobs"):
        rules(builder, tmp_path)


@pytest.mark.parametrize(("since", "excused"), [(79.5, True), (82.0, False)])
def test_lists_may_name_an_erased_job_whose_record_redis_has_lost(since: float, excused: bool, tmp_path: Path) -> None:
    """j16 was submitted at 80.0."""
    builder = clean_history()
    builder.after["traces"].append("readalong:jobs:model:6fb3: id-j16")
    builder.fault("redis_failover", since, since + 0.1, "redis", since=START + since)
    assert rules(builder, tmp_path) == ([] if excused else [Rule.LEAK])
