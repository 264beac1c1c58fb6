"""Faults to plant in the clean history, each what a hostile model or client must not bring about."""

from __future__ import annotations

from typing import Final

from tests.chaos.checker import Rule
from tests.chaos.clean import QUEUED, end, failed
from tests.chaos.made import Made, Said, begun, said, tokens
from tests.chaos.plants import Plant, alone


def a_hostile_answer_that_counts_as_whole(made: Made) -> None:
    texts = tokens("z1", 1, 3)
    alone(made, [QUEUED, begun("started", 1, 9), *said(texts), end("done", texts)], texts)
    made.log("z1")["hash"]["model"] = "hostile-text"


def a_hostile_answer_with_the_code_of_another(made: Made) -> None:
    texts = tokens("z1", 1, 3)
    alone(made, [QUEUED, begun("started", 1, 9), *said(texts), failed("model_malformed", texts)], texts, state="gone")
    made.log("z1")["hash"]["model"] = "hostile-text"


def sent_away_for_another_ones_model(made: Made) -> None:
    texts = tokens("z1", 1, 3)
    again = begun("restarted", 2, 8, reason="model_redirected")
    alone(made, [QUEUED, begun("started", 1, 9), again, *said(texts), end("done", texts)], texts)


def begun_again_though_no_worker_was_lost(made: Made) -> None:
    _begins_again(made, "worker_lost")
    made.faults.remove(made.line(kind="worker_kill", pid=9))


def given_back_though_no_worker_was_stopped(made: Made) -> None:
    _begins_again(made, "worker_stopped")


def begun_again_though_its_model_did_not_stall(made: Made) -> None:
    _begins_again(made, "model_stalled")


def kept_waiting_by_another_ones_model(made: Made) -> None:
    texts = tokens("z1", 1, 3)
    waiting: Said = ("waiting", {"for": "model", "reason": "model_unreachable", "seconds": 0.3})
    alone(made, [QUEUED, begun("started", 1, 9), waiting, *said(texts), end("done", texts)], texts)


def a_worker_that_takes_nothing_any_more(made: Made) -> None:
    made.shut(70.0, None)


def a_worker_that_took_nothing_for_long(made: Made) -> None:
    made.shut(70.0, 79.5)


def an_attack_that_breaks_an_api(made: Made) -> None:
    made.attack("large", 90.0, 500)


def a_page_of_another_site_that_is_served(made: Made) -> None:
    made.attack("foreign-origin", 90.0, 202)


def another_body_that_got_the_same_job(made: Made) -> None:
    made.attack("other-body", 90.0, 202, job="id-j20", made="id-j20")


def a_request_without_an_end(made: Made) -> None:
    made.attack("dribble", 95.0, closed=False)


def too_much_memory(made: Made) -> None:
    made.after["memory"]["worker-3"] = 201


def _begins_again(made: Made, reason: str) -> None:
    texts = tokens("z1", 2, 3)
    again = begun("restarted", 2, 8, reason=reason)
    alone(made, [QUEUED, begun("started", 1, 9), again, *said(texts), end("done", texts)], tokens("z1", 1, 1), texts)


HOSTILE_PLANTS: Final[list[tuple[Plant, Rule]]] = [
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
