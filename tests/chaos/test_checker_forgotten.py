"""Data that Redis loses by design is no violation; a text of two attempts, a gap, a second end is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.checker import Rule, check
from tests.chaos.clean_history import QUEUED, clean_history, end
from tests.chaos.history_builder import START, HistoryBuilder, begun, said, tokens
from tests.chaos.lost_log import LOG, NEW, add_job_of_lost_log, first, mixed_after_a_failover, second, watch

Change = Callable[[HistoryBuilder], None]


def rules(builder: HistoryBuilder, directory: Path) -> list[Rule]:
    return [violation.rule for violation in check(builder.write(directory)).violations]


def without_the_fault(builder: HistoryBuilder) -> None:
    del builder.line(kind="redis_failover")["since"]


def a_gap(builder: HistoryBuilder) -> None:
    seen = first()
    del seen[4]
    watch(builder, [*seen, *second()])


def another_text(builder: HistoryBuilder) -> None:
    seen = first()
    seen[5]["data"] = seen[5]["data"].replace("z1.1", "z1.7")
    watch(builder, [*seen, *second()])


def another_text_than_the_log(builder: HistoryBuilder) -> None:
    seen = second()
    seen[0]["data"] = seen[0]["data"].replace('"attempt":2', '"attempt":3')
    seen[-1]["data"] = seen[-1]["data"].replace("null", "{}")
    watch(builder, [*first(), *seen])


def a_repeat(builder: HistoryBuilder) -> None:
    watch(builder, [*first(), *first()[5:], *second()])


def a_second_end(builder: HistoryBuilder) -> None:
    watch(builder, [*first(), *second(), {**second()[-1], "id": 10}])


def mixed_by_a_client_that_comes_back(builder: HistoryBuilder) -> None:
    watch(builder, first(), second()[3:])


def no_end(builder: HistoryBuilder) -> None:
    watch(builder, [*first(), *second()[:-1]])


def still_waits(builder: HistoryBuilder) -> None:
    watch(builder, first(), how="gave_up")


@pytest.mark.parametrize(
    ("planted", "rule"),
    [
        (mixed_after_a_failover, Rule.MIXED),
        (mixed_by_a_client_that_comes_back, Rule.MIXED),
        (a_gap, Rule.MIXED),
        (another_text, Rule.MIXED),
        (another_text_than_the_log, Rule.BYTES),
        (a_repeat, Rule.REPEAT),
        (a_second_end, Rule.SECOND_END),
        (no_end, Rule.MISSING_END),
        (still_waits, Rule.MISSING_END),
    ],
)
def test_what_no_loss_excuses_is_caught(planted: Change, rule: Rule, tmp_path: Path) -> None:
    builder = clean_history()
    if planted is not mixed_after_a_failover:
        add_job_of_lost_log(builder)
    planted(builder)
    assert rules(builder, tmp_path) == [rule]


def test_what_redis_lost_excuses_what_was_seen_of_it_and_nothing_else_does(tmp_path: Path) -> None:
    builder = clean_history()
    add_job_of_lost_log(builder)
    assert rules(builder, tmp_path) == []
    without_the_fault(builder)
    assert set(rules(builder, tmp_path)) == {Rule.BYTES}


def lose_the_job(builder: HistoryBuilder, t: float) -> None:
    builder.submit("z2", t)
    builder.clients.append({"t": START + t, "kind": "client", "client": "z", "job": "id-z2", "after": 0})
    builder.watch("z", "id-z2", t, [], after=0, how="refused", status=404)
    builder.clients.append({"t": START + t + 1, "kind": "client_end", "client": "z", "how": "gone"})


def lose_the_cancel(builder: HistoryBuilder, t: float) -> None:
    """The cancel came in time."""
    builder.cancel("z1", t)
    builder.log("z1")["hash"]["ended_at"] = str(int((START + t + 60) * 1000))


def lose_the_erase(builder: HistoryBuilder, t: float) -> None:
    builder.erase("z1", t)


def lose_half_of_the_erase(builder: HistoryBuilder, t: float) -> None:
    builder.submit("z3", t - 0.3)
    builder.erase("z3", t)
    log = [QUEUED, end("cancelled", [], by="client")]
    builder.job("z3", log, t - 0.3, t - 0.2)
    builder.client("z3", log, t - 0.1)


@pytest.mark.parametrize(
    ("lose", "rules_otherwise"),
    [
        (lose_the_job, {Rule.LOST_JOB, Rule.ANSWER}),
        (lose_the_cancel, {Rule.CANCEL_LOST}),
        (lose_the_erase, {Rule.LEAK}),
        (lose_half_of_the_erase, {Rule.LEAK, Rule.CANCELLED}),
    ],
)
def test_what_redis_was_told_while_it_lost_it_is_excused_and_only_then(
    lose: Callable[[HistoryBuilder, float], None], rules_otherwise: set[Rule], tmp_path: Path
) -> None:
    builder = clean_history()
    add_job_of_lost_log(builder)
    lose(builder, 100.4)
    assert rules(builder, tmp_path) == []
    builder = clean_history()
    add_job_of_lost_log(builder)
    lose(builder, 150.0)
    assert set(rules(builder, tmp_path)) == rules_otherwise


def test_an_old_claim_that_comes_back_after_a_newer_one_is_no_zombie(tmp_path: Path) -> None:
    """Redis lost the second claim; a third one came first, and then the second worker sent all again."""
    builder = clean_history()
    third = tokens("z1", 3, 4)
    log = [
        QUEUED,
        begun("started", 1, 7, epoch="ccc"),
        *said(third[:1]),
        ("content", {"content": ""}),
        *LOG[4:],
    ]
    builder.submit("z1", 100.0)
    builder.fault("redis_failover", 100.3, 100.6, "redis", since=START + 100.3)
    builder.call("z1.2", 100.1, 102.9, NEW)
    builder.call("z1.3", 100.7, 101.0, third, "gone")
    builder.job("z1", log, 100.0, 103.0)
    assert rules(builder, tmp_path) == []
    without_the_fault(builder)
    assert rules(builder, tmp_path) == [Rule.OTHER_CALL]
