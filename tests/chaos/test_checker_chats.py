"""The lines of /chat/stream are compared with the log, and its job may be cancelled when it has no reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import Rule
from tests.chaos.clean_history import clean_history
from tests.chaos.history_builder import START, HistoryBuilder, dumped, tokens
from tests.chaos.test_checker_excuses import rules


def lines_of(builder: HistoryBuilder, tag: str) -> list[int]:
    """Returns the indexes of the first response's lines among the clients' lines."""
    watch = builder.line(kind="open", job=f"id-{tag}", form="chat")["watch"]
    return [place for place, line in enumerate(builder.clients) if line["kind"] == "said" and line["watch"] == watch]


@pytest.mark.parametrize("place", range(8))
def test_a_line_that_is_left_out_is_a_gap(place: int, tmp_path: Path) -> None:
    builder = clean_history()
    del builder.clients[lines_of(builder, "j13")[place]]
    assert rules(builder, tmp_path) == [Rule.GAP]


@pytest.mark.parametrize("place", range(8))
def test_a_line_that_comes_twice_is_a_repeat(place: int, tmp_path: Path) -> None:
    builder = clean_history()
    at = lines_of(builder, "j13")[place]
    builder.clients.insert(at, dict(builder.clients[at]))
    assert rules(builder, tmp_path) == [Rule.REPEAT]


@pytest.mark.parametrize(
    "data",
    [
        {"content": "No call sent this."},
        {"content": tokens("j13", 1, 1)[0], "choice": 1},
        {"reasoning": tokens("j13", 1, 1)[0]},
        {"content": tokens("j13", 1, 1)[0], "more": 1},
        {"content": 7},
        {"error": {"code": "model_cut"}},
        [1],
        "no JSON",
    ],
)
def test_a_line_that_says_what_the_log_does_not_is_caught(data: Any, tmp_path: Path) -> None:
    builder = clean_history()
    text = data if isinstance(data, str) else dumped(data)
    builder.clients[lines_of(builder, "j13")[0]]["data"] = text
    assert rules(builder, tmp_path) == [Rule.BYTES]


def test_an_answer_ends_once_and_not_without_its_end(tmp_path: Path) -> None:
    builder = clean_history()
    last = lines_of(builder, "j13")[-1]
    builder.clients.insert(last, dict(builder.clients[last]))
    assert rules(builder, tmp_path) == [Rule.SECOND_END]
    del builder.clients[last : last + 2]
    assert rules(builder, tmp_path) == [Rule.MISSING_END]


def test_an_answer_that_says_done_too_early_leaves_something_out(tmp_path: Path) -> None:
    builder = clean_history()
    place = lines_of(builder, "j13")[3]
    builder.clients[place]["data"] = "[DONE]"
    assert rules(builder, tmp_path) == [Rule.GAP]


def test_a_client_that_was_cut_off_and_never_got_the_end_is_caught(tmp_path: Path) -> None:
    builder = clean_history()
    client = builder.line(kind="open", job="id-j14", form="chat")["client"]
    del builder.clients[lines_of(builder, "j14")[-1]]
    builder.line(kind="close", watch=builder.line(kind="open", client=client)["watch"])["how"] = "reset"
    assert rules(builder, tmp_path) == [Rule.MISSING_END]


def test_a_submit_by_chat_is_answered_200_and_no_other_is(tmp_path: Path) -> None:
    builder = clean_history()
    builder.line(kind="submit", tag="j14")["status"] = 202
    builder.line(kind="submit", tag="j1")["status"] = 200
    assert rules(builder, tmp_path) == [Rule.ANSWER, Rule.ANSWER]


def test_what_came_by_chat_is_one_job_a_tag_as_well(tmp_path: Path) -> None:
    builder = clean_history()
    line = builder.line(kind="submit", tag="j14")
    builder.clients.append({**line, "job": "id-second"})
    builder.logs.append({**builder.log("j14"), "job": "id-second"})
    assert rules(builder, tmp_path) == [Rule.TWO_JOBS]


def test_only_a_job_of_chat_is_cancelled_by_default_when_it_has_no_reader(tmp_path: Path) -> None:
    builder = clean_history()
    submit = builder.line(kind="submit", tag="j15")
    del submit["via"]
    assert rules(builder, tmp_path) == [Rule.CANCELLED]
    submit["via"] = "chat"
    submit["terms"] = {"cancel_on_disconnect": False}
    assert rules(builder, tmp_path) == [Rule.CANCELLED]


def test_a_job_whose_answer_was_read_to_its_end_is_no_orphan(tmp_path: Path) -> None:
    builder = clean_history()
    line = builder.line(kind="submit", tag="j15")
    line.update(status=200, job="id-j15")
    texts = tokens("j15", 1, 2)
    said = [{"content": text} for text in texts]
    watch = builder.chatter("j15", [], 20.2, [*said, {"cancelled": {"by": "disconnect"}}, "[DONE]"], "end")
    assert rules(builder, tmp_path) == []
    builder.line(kind="close", watch=watch)["t"] = START + 25.1
    assert rules(builder, tmp_path) == [Rule.CANCELLED]
