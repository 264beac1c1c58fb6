"""What came by /chat/stream is held against the log, and its job may be cancelled when nobody reads it any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.checker import Rule
from tests.chaos.clean import clean
from tests.chaos.made import START, Made, dumped, tokens
from tests.chaos.test_checker_excuses import rules


def lines_of(made: Made, tag: str) -> list[int]:
    """The places of what the first answer said, among the lines of the clients."""
    watch = made.line(kind="open", job=f"id-{tag}", form="chat")["watch"]
    return [place for place, line in enumerate(made.clients) if line["kind"] == "said" and line["watch"] == watch]


@pytest.mark.parametrize("place", range(8))
def test_a_line_that_is_left_out_is_a_gap(place: int, tmp_path: Path) -> None:
    made = clean()
    del made.clients[lines_of(made, "j13")[place]]
    assert rules(made, tmp_path) == [Rule.GAP]


@pytest.mark.parametrize("place", range(8))
def test_a_line_that_comes_twice_is_a_repeat(place: int, tmp_path: Path) -> None:
    made = clean()
    at = lines_of(made, "j13")[place]
    made.clients.insert(at, dict(made.clients[at]))
    assert rules(made, tmp_path) == [Rule.REPEAT]


@pytest.mark.parametrize(
    "data",
    [
        {"content": "Nobody said this."},
        {"content": tokens("j13", 1, 1)[0], "choice": 1},
        {"reasoning": tokens("j13", 1, 1)[0]},
        {"content": tokens("j13", 1, 1)[0], "more": 1},
        {"content": 7},
        {"error": {"code": "model_cut"}},
        [1],
        "no JSON",
    ],
)
def test_a_line_that_says_what_the_log_does_not_is_caught(data: object, tmp_path: Path) -> None:
    made = clean()
    text = data if isinstance(data, str) else dumped(data)  # type: ignore[arg-type]  # a dictionary here
    made.clients[lines_of(made, "j13")[0]]["data"] = text
    assert rules(made, tmp_path) == [Rule.BYTES]


def test_an_answer_ends_once_and_not_without_its_end(tmp_path: Path) -> None:
    made = clean()
    last = lines_of(made, "j13")[-1]
    made.clients.insert(last, dict(made.clients[last]))
    assert rules(made, tmp_path) == [Rule.SECOND_END]
    del made.clients[last : last + 2]
    assert rules(made, tmp_path) == [Rule.MISSING_END]


def test_an_answer_that_says_done_too_early_leaves_something_out(tmp_path: Path) -> None:
    made = clean()
    place = lines_of(made, "j13")[3]
    made.clients[place]["data"] = "[DONE]"
    assert rules(made, tmp_path) == [Rule.GAP]


def test_a_client_that_was_cut_off_and_never_got_the_end_is_caught(tmp_path: Path) -> None:
    made = clean()
    client = made.line(kind="open", job="id-j14", form="chat")["client"]
    del made.clients[lines_of(made, "j14")[-1]]
    made.line(kind="close", watch=made.line(kind="open", client=client)["watch"])["how"] = "reset"
    assert rules(made, tmp_path) == [Rule.MISSING_END]


def test_a_submit_by_chat_is_answered_200_and_no_other_is(tmp_path: Path) -> None:
    made = clean()
    made.line(kind="submit", tag="j14")["status"] = 202
    made.line(kind="submit", tag="j1")["status"] = 200
    assert rules(made, tmp_path) == [Rule.ANSWER, Rule.ANSWER]


def test_what_came_by_chat_is_one_job_a_tag_as_well(tmp_path: Path) -> None:
    made = clean()
    line = made.line(kind="submit", tag="j14")
    made.clients.append({**line, "job": "id-second"})
    made.logs.append({**made.log("j14"), "job": "id-second"})
    assert rules(made, tmp_path) == [Rule.TWO_JOBS]


def test_only_a_job_of_chat_is_let_go_by_default_when_nobody_reads_it(tmp_path: Path) -> None:
    made = clean()
    submit = made.line(kind="submit", tag="j15")
    del submit["via"]
    assert rules(made, tmp_path) == [Rule.CANCELLED]
    submit["via"] = "chat"
    submit["terms"] = {"cancel_on_disconnect": False}
    assert rules(made, tmp_path) == [Rule.CANCELLED]


def test_a_job_whose_answer_was_read_to_its_end_is_no_orphan(tmp_path: Path) -> None:
    made = clean()
    line = made.line(kind="submit", tag="j15")
    line.update(status=200, job="id-j15")
    texts = tokens("j15", 1, 2)
    said = [{"content": text} for text in texts]
    watch = made.chatter("j15", [], 20.2, [*said, {"cancelled": {"by": "disconnect"}}, "[DONE]"], "end")
    assert rules(made, tmp_path) == []
    made.line(kind="close", watch=watch)["t"] = START + 25.1
    assert rules(made, tmp_path) == [Rule.CANCELLED]
