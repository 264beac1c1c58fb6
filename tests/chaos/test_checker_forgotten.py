"""Where Redis forgot by design, what it lost is no violation; a text of two attempts, a gap, a second end is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.checker import Rule, check
from tests.chaos.clean import QUEUED, clean, end
from tests.chaos.forgetting import LOG, NEW, first, forgetful, mixed_after_a_failover, second, watch
from tests.chaos.made import START, Made, begun, said, tokens

Change = Callable[[Made], None]


def rules(made: Made, directory: Path) -> list[Rule]:
    return [violation.rule for violation in check(made.write(directory)).violations]


def without_the_fault(made: Made) -> None:
    del made.line(kind="redis_failover")["since"]


def a_gap(made: Made) -> None:
    seen = first()
    del seen[4]
    watch(made, [*seen, *second()])


def another_text(made: Made) -> None:
    seen = first()
    seen[5]["data"] = seen[5]["data"].replace("z1.1", "z1.7")
    watch(made, [*seen, *second()])


def another_text_than_the_log(made: Made) -> None:
    seen = second()
    seen[0]["data"] = seen[0]["data"].replace('"attempt":2', '"attempt":3')
    seen[-1]["data"] = seen[-1]["data"].replace("null", "{}")
    watch(made, [*first(), *seen])


def a_repeat(made: Made) -> None:
    watch(made, [*first(), *first()[5:], *second()])


def a_second_end(made: Made) -> None:
    watch(made, [*first(), *second(), {**second()[-1], "id": 10}])


def mixed_by_who_comes_back(made: Made) -> None:
    watch(made, first(), second()[3:])


def no_end(made: Made) -> None:
    watch(made, [*first(), *second()[:-1]])


def still_waits(made: Made) -> None:
    watch(made, first(), how="gave_up")


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (mixed_after_a_failover, Rule.MIXED),
        (mixed_by_who_comes_back, Rule.MIXED),
        (a_gap, Rule.MIXED),
        (another_text, Rule.MIXED),
        (another_text_than_the_log, Rule.BYTES),
        (a_repeat, Rule.REPEAT),
        (a_second_end, Rule.SECOND_END),
        (no_end, Rule.MISSING_END),
        (still_waits, Rule.MISSING_END),
    ],
)
def test_what_no_loss_excuses_is_caught(plant: Change, rule: Rule, tmp_path: Path) -> None:
    made = clean()
    if plant is not mixed_after_a_failover:
        forgetful(made)
    plant(made)
    assert rules(made, tmp_path) == [rule]


def test_what_redis_lost_excuses_what_was_seen_of_it_and_nothing_else_does(tmp_path: Path) -> None:
    made = clean()
    forgetful(made)
    assert rules(made, tmp_path) == []
    without_the_fault(made)
    assert set(rules(made, tmp_path)) == {Rule.BYTES}


def lose_the_job(made: Made, t: float) -> None:
    made.submit("z2", t)
    made.clients.append({"t": START + t, "kind": "client", "client": "z", "job": "id-z2", "after": 0})
    made.watch("z", "id-z2", t, [], after=0, how="refused", status=404)
    made.clients.append({"t": START + t + 1, "kind": "client_end", "client": "z", "how": "gone"})


def lose_the_cancel(made: Made, t: float) -> None:
    """It was asked for in time."""
    made.cancel("z1", t)
    made.log("z1")["hash"]["ended_at"] = str(int((START + t + 60) * 1000))


def lose_the_erase(made: Made, t: float) -> None:
    made.erase("z1", t)


def lose_half_of_the_erase(made: Made, t: float) -> None:
    made.submit("z3", t - 0.3)
    made.erase("z3", t)
    log = [QUEUED, end("cancelled", [], by="client")]
    made.job("z3", log, t - 0.3, t - 0.2)
    made.client("z3", log, t - 0.1)


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
    lose: Callable[[Made, float], None], rules_otherwise: set[Rule], tmp_path: Path
) -> None:
    made = clean()
    forgetful(made)
    lose(made, 100.4)
    assert rules(made, tmp_path) == []
    made = clean()
    forgetful(made)
    lose(made, 150.0)
    assert set(rules(made, tmp_path)) == rules_otherwise


def test_an_old_claim_that_comes_back_after_a_newer_one_is_no_zombie(tmp_path: Path) -> None:
    """Redis forgot the second claim; a third one came first, and then the second's worker sent all again."""
    made = clean()
    third = tokens("z1", 3, 4)
    log = [
        QUEUED,
        begun("started", 1, 7, epoch="ccc"),
        *said(third[:1]),
        ("content", {"content": ""}),
        *LOG[4:],
    ]
    made.submit("z1", 100.0)
    made.fault("redis_failover", 100.3, 100.6, "redis", since=START + 100.3)
    made.call("z1.2", 100.1, 102.9, NEW)
    made.call("z1.3", 100.7, 101.0, third, "gone")
    made.job("z1", log, 100.0, 103.0)
    assert rules(made, tmp_path) == []
    without_the_fault(made)
    assert rules(made, tmp_path) == [Rule.OTHER_CALL]
