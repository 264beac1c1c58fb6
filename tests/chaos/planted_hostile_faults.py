"""Faults to plant in the clean history: effects that no hostile model or client may have."""

from __future__ import annotations

from typing import Final

from tests.chaos.checker import Rule
from tests.chaos.clean_history import QUEUED, end, failed
from tests.chaos.history_builder import HistoryBuilder, Said, begun, said, tokens
from tests.chaos.planted_faults import PlantedFault, alone


def a_hostile_answer_that_counts_as_whole(builder: HistoryBuilder) -> None:
    texts = tokens("z1", 1, 3)
    alone(builder, [QUEUED, begun("started", 1, 9), *said(texts), end("done", texts)], texts)
    builder.log("z1")["hash"]["model"] = "hostile-text"


def a_hostile_answer_with_the_code_of_another(builder: HistoryBuilder) -> None:
    texts = tokens("z1", 1, 3)
    alone(
        builder, [QUEUED, begun("started", 1, 9), *said(texts), failed("model_malformed", texts)], texts, state="gone"
    )
    builder.log("z1")["hash"]["model"] = "hostile-text"


def sent_away_for_another_ones_model(builder: HistoryBuilder) -> None:
    texts = tokens("z1", 1, 3)
    again = begun("restarted", 2, 8, reason="model_redirected")
    alone(builder, [QUEUED, begun("started", 1, 9), again, *said(texts), end("done", texts)], texts)


def begun_again_though_no_worker_was_lost(builder: HistoryBuilder) -> None:
    _begins_again(builder, "worker_lost")
    builder.faults.remove(builder.line(kind="worker_kill", pid=9))


def given_back_though_no_worker_was_stopped(builder: HistoryBuilder) -> None:
    _begins_again(builder, "worker_stopped")


def begun_again_though_its_model_did_not_stall(builder: HistoryBuilder) -> None:
    _begins_again(builder, "model_stalled")


def kept_waiting_by_another_ones_model(builder: HistoryBuilder) -> None:
    texts = tokens("z1", 1, 3)
    waiting: Said = ("waiting", {"for": "model", "reason": "model_unreachable", "seconds": 0.3})
    alone(builder, [QUEUED, begun("started", 1, 9), waiting, *said(texts), end("done", texts)], texts)


def a_worker_that_takes_nothing_any_more(builder: HistoryBuilder) -> None:
    builder.shut(70.0, None)


def a_worker_that_took_nothing_for_long(builder: HistoryBuilder) -> None:
    builder.shut(70.0, 79.5)


def an_attack_that_breaks_an_api(builder: HistoryBuilder) -> None:
    builder.attack("large", 90.0, 500)


def a_page_of_another_site_that_is_served(builder: HistoryBuilder) -> None:
    builder.attack("foreign-origin", 90.0, 202)


def another_body_that_got_the_same_job(builder: HistoryBuilder) -> None:
    builder.attack("other-body", 90.0, 202, job="id-j20", made="id-j20")


def a_request_without_an_end(builder: HistoryBuilder) -> None:
    builder.attack("dribble", 95.0, closed=False)


def too_much_memory(builder: HistoryBuilder) -> None:
    builder.after["memory"]["worker-3"] = 201


def _begins_again(builder: HistoryBuilder, reason: str) -> None:
    texts = tokens("z1", 2, 3)
    again = begun("restarted", 2, 8, reason=reason)
    alone(builder, [QUEUED, begun("started", 1, 9), again, *said(texts), end("done", texts)], tokens("z1", 1, 1), texts)


PLANTED_HOSTILE_FAULTS: Final[list[tuple[PlantedFault, Rule]]] = [
    (a_hostile_answer_that_counts_as_whole, Rule.HOSTILE),
    (a_hostile_answer_with_the_code_of_another, Rule.FAILURE),
    (sent_away_for_another_ones_model, Rule.NOTICED),
    (begun_again_though_no_worker_was_lost, Rule.NOTICED),
    (kept_waiting_by_another_ones_model, Rule.NOTICED),
    (a_worker_that_takes_nothing_any_more, Rule.SHUT),
    (a_worker_that_took_nothing_for_long, Rule.SHUT),
    (an_attack_that_breaks_an_api, Rule.ATTACK),
    (a_page_of_another_site_that_is_served, Rule.ATTACK),
    (another_body_that_got_the_same_job, Rule.ATTACK),
    (a_request_without_an_end, Rule.ATTACK),
    (too_much_memory, Rule.MEMORY),
]
