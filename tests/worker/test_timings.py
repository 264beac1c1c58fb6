"""An attempt's times and rates."""

from __future__ import annotations

from typing import Any

import pytest

from readalong.worker.timings import AttemptTimings


def measured(*tokens: float, called: float = 10.5, waited: float = 2.0) -> AttemptTimings:
    """Returns the timings of an attempt claimed at 10 after `waited` seconds in the queue, with the model called at
    `called`, and tokens at those times."""
    meter = AttemptTimings(waited, 10.0)
    meter.called(called)
    for at in tokens:
        meter.token(at)
    return meter


def test_times_count_from_the_submit_and_from_the_call() -> None:
    assert measured(11, 12, 13).metrics(14, 3, None) == {
        "queue_seconds": 2.0,
        "time_to_first_token": 3.0,
        "time_to_first_token_from_call": 0.5,
        "total_seconds": 6.0,
        "chunk_count": 3,
        "tokens_per_second": 1.0,
    }


def test_without_a_token_there_is_no_first_one_and_no_rate() -> None:
    metrics = measured().metrics(14, 0, None)
    assert metrics["time_to_first_token"] is None
    assert metrics["time_to_first_token_from_call"] is None
    assert metrics["tokens_per_second"] is None
    assert (metrics["total_seconds"], metrics["chunk_count"]) == (6.0, 0)
    assert not measured().begun


def test_timings_without_a_call_have_their_times() -> None:
    assert AttemptTimings(1.0, 5.0).metrics(7.0, 0, None)["total_seconds"] == 3.0


def test_after_a_retry_the_call_that_answered_counts() -> None:
    meter = measured()
    meter.called(20)
    meter.token(20.25)
    metrics = meter.metrics(21, 1, None)
    assert (metrics["time_to_first_token"], metrics["time_to_first_token_from_call"]) == (12.25, 0.25)


@pytest.mark.parametrize("tokens", [(11,), (11, 11)])
def test_what_came_in_one_piece_has_no_rate(tokens: tuple[float, ...]) -> None:
    assert measured(*tokens).metrics(12, 50, {"completion_tokens": 50})["tokens_per_second"] is None


def test_the_models_own_count_gives_the_rate_and_is_told() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 21, "total_tokens": 26, "cost": 0.1}
    metrics = measured(11, 13).metrics(14, 3, usage)
    assert metrics["tokens_per_second"] == 10.0
    assert (metrics["prompt_tokens"], metrics["completion_tokens"], metrics["total_tokens"]) == (5, 21, 26)
    assert "cost" not in metrics


def test_tokens_that_were_not_streamed_do_not_count_as_fast_ones() -> None:
    assert measured(11, 13).metrics(14, 3, {"completion_tokens": 1021}, hidden=1000)["tokens_per_second"] == 10.0


@pytest.mark.parametrize(
    "usage", [{}, {"completion_tokens": None}, {"completion_tokens": "9"}, {"completion_tokens": 0}]
)
def test_where_the_count_is_missing_or_nonsense_the_chunks_give_the_rate(usage: dict[str, Any]) -> None:
    metrics = measured(11, 12).metrics(14, 5, usage)
    assert metrics["tokens_per_second"] == 4.0
    assert metrics.get("completion_tokens") in (None, 0)
