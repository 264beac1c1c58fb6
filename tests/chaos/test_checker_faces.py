"""What clients of OpenAI's faces and the AI SDK read is compared with the log: each rule has a planted fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import Rule, check
from tests.chaos.checker.face_chat import told_of_log
from tests.chaos.checker.faces import check_forgotten_face
from tests.chaos.checker.history import Job, Watch
from tests.chaos.checker.log import Event
from tests.chaos.checker.report import Line
from tests.chaos.checker.told import Told
from tests.chaos.clean_history import QUEUED, end
from tests.chaos.face_history import attempts, chunk, error, face_history, submit
from tests.chaos.history_builder import HistoryBuilder, Record, dumped
from tests.chaos.test_checker_excuses import rules


def said(builder: HistoryBuilder, tag: str, connection: int = 0) -> list[Record]:
    """Returns the lines of one connection to the job by its face."""
    opened = [line for line in builder.clients if line["kind"] == "open" and line["job"] == f"id-{tag}"]
    watch = opened[connection]["watch"]
    return [line for line in builder.clients if line["kind"] == "said" and line["watch"] == watch]


def drop(builder: HistoryBuilder, line: Record) -> None:
    builder.clients = [other for other in builder.clients if other is not line]


def repeat(builder: HistoryBuilder, line: Record) -> None:
    place = next(place for place, other in enumerate(builder.clients) if other is line)
    builder.clients.insert(place, dict(line))


def change(line: Record, **fields: Any) -> None:
    line["data"] = dumped({**json.loads(line["data"]), **fields})


def renumber(builder: HistoryBuilder, lines: list[Record], first: int) -> None:
    for number, line in enumerate(lines, first):
        change(line, sequence_number=number)


def test_a_clean_history_of_the_faces_has_no_violation(tmp_path: Path) -> None:
    report = check(face_history().write(tmp_path))
    assert not report.violations, str(report)
    assert report.counts["faces"] == {"openai": 3, "responses": 5, "ai_sdk": 4}
    assert report.counts["repeats without a key"] == 1


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        ([(0, '{"a'), (1, "{"), (0, '":1}'), (1, "}")], ['{"a', '":1}', "{}"]),
        ([(0, "{"), (0, "}"), (1, "{"), (1, "}")], ["{", "}", "{", "}"]),
    ],
)
def test_calls_in_turns_are_told_one_after_the_other(pieces: list[tuple[int, str]], told: list[str]) -> None:
    """A call that is whole is followed at once."""
    lines = [("tool_call_delta", dumped({"index": index, "arguments": piece})) for index, piece in pieces]
    lines += [("tool_call", dumped({"index": index, "arguments": {}})) for index in (0, 1)]
    events = [Event(number, kind, data, number) for number, (kind, data) in enumerate(lines, 3)]
    assert told_of_log(events) == [Told("call", 0, text) for text in told]


def a_chunk_left_out(builder: HistoryBuilder) -> None:
    drop(builder, said(builder, "f2")[2])


def a_chunk_twice(builder: HistoryBuilder) -> None:
    repeat(builder, said(builder, "f2")[2])


def two_texts_in_one(builder: HistoryBuilder) -> None:
    """The new attempt follows the text of the lost one."""
    lines = said(builder, "f1")
    lines[-2]["data"] = chunk("f1", {"content": attempts("f1")[1][0]})


def a_restart_before_the_text_is_told(builder: HistoryBuilder) -> None:
    """Of an attempt that has said nothing a client does not hear."""
    entries = builder.entries("f1")
    del entries[2:4]
    for number, entry in enumerate(entries, 1):
        entry[0] = f"{number}-0"
    builder.log("f1")["hash"]["last_seq"] = str(len(entries))
    for line in said(builder, "f1")[:3]:
        drop(builder, line)


def a_restart_that_is_none(builder: HistoryBuilder) -> None:
    lines = said(builder, "f2")
    lines[-2]["data"] = error("restarted")


def an_interruption_without_a_reason(builder: HistoryBuilder) -> None:
    said(builder, "f2")[-2]["data"] = error("interrupted")


def another_error(builder: HistoryBuilder) -> None:
    said(builder, "f2")[-2]["data"] = error("model_cut")


def a_chunk_after_the_end(builder: HistoryBuilder) -> None:
    repeat(builder, said(builder, "f2")[-1])


def an_end_without_an_end(builder: HistoryBuilder) -> None:
    """The server closes the stream properly in the middle: to a client that looks like a whole answer."""
    lines = said(builder, "f2")
    for line in lines[-2:]:
        drop(builder, line)
    builder.line(kind="close", watch=lines[0]["watch"])["how"] = "eof"
    builder.line(kind="client_end", client=builder.line(kind="open", watch=lines[0]["watch"])["client"])["how"] = "left"


def a_chunk_of_another_completion(builder: HistoryBuilder) -> None:
    change(said(builder, "f2")[2], id="chatcmpl-id-f1")


def a_whole_answer_of_both_attempts(builder: HistoryBuilder) -> None:
    [line] = said(builder, "f3")
    line["data"] = line["data"].replace("".join(attempts("f3")[1]), "".join([*attempts("f3")[0], *attempts("f3")[1]]))


def a_whole_answer_of_a_job_that_failed(builder: HistoryBuilder) -> None:
    said(builder, "f3")[0]["data"] = error("model_cut")


def a_second_job_for_a_repeat(builder: HistoryBuilder) -> None:
    log = builder.log("f3")
    builder.logs.append({**log, "job": "id-f3b", "hash": {**log["hash"], "id": "id-f3b"}})


def an_event_left_out(builder: HistoryBuilder) -> None:
    drop(builder, said(builder, "f4", 1)[5])


def an_event_left_out_and_no_number(builder: HistoryBuilder) -> None:
    lines = said(builder, "f5")
    drop(builder, lines[11])
    renumber(builder, lines[12:], 11)


def an_event_twice(builder: HistoryBuilder) -> None:
    repeat(builder, said(builder, "f4", 1)[5])


def a_resume_too_early(builder: HistoryBuilder) -> None:
    """The events before the position come again."""
    place = next(place for place, line in enumerate(builder.clients) if line is said(builder, "f4", 1)[0])
    watch = builder.clients[place]["watch"]
    builder.clients.insert(place, {**said(builder, "f4")[-1], "watch": watch})


def a_resume_too_late(builder: HistoryBuilder) -> None:
    builder.line(kind="open", watch=said(builder, "f4", 1)[0]["watch"])["after"] += 1


def text_of_the_lost_attempt(builder: HistoryBuilder) -> None:
    change(said(builder, "f5")[-1], response=json.loads(said(builder, "f5")[8]["data"])["response"])


def another_end(builder: HistoryBuilder) -> None:
    line = said(builder, "f5")[-1]
    change(line, type="response.failed", response={**json.loads(line["data"])["response"], "status": "failed"})


def an_event_after_the_end(builder: HistoryBuilder) -> None:
    line = said(builder, "f5")[-1]
    repeat(builder, line)
    change(line, sequence_number=json.loads(line["data"])["sequence_number"] + 1)


def no_end_of_a_response(builder: HistoryBuilder) -> None:
    drop(builder, said(builder, "f5")[-1])


def a_stream_that_ends_early(builder: HistoryBuilder) -> None:
    """No process stopped, so there was no reason to send the client away."""
    builder.line(kind="close", watch=said(builder, "f4")[0]["watch"])["how"] = "eof"


def another_response(builder: HistoryBuilder) -> None:
    line = said(builder, "f5")[2]
    change(line, response={**json.loads(line["data"])["response"], "id": "resp_id-f4"})


def an_item_with_two_ids(builder: HistoryBuilder) -> None:
    change(said(builder, "f4", 1)[5], item_id="msg_another")


def a_ui_chunk_left_out(builder: HistoryBuilder) -> None:
    drop(builder, said(builder, "f6", 1)[5])


def a_ui_chunk_twice(builder: HistoryBuilder) -> None:
    repeat(builder, said(builder, "f6", 1)[5])


def no_reset(builder: HistoryBuilder) -> None:
    """The new text follows the lost one in one message."""
    drop(builder, next(line for line in said(builder, "f6", 1) if "reset-step" in line["data"]))


def another_message(builder: HistoryBuilder) -> None:
    change(said(builder, "f6", 2)[0], messageId="msg_another")


def no_finish(builder: HistoryBuilder) -> None:
    drop(builder, said(builder, "f6", 2)[-2])


def no_done(builder: HistoryBuilder) -> None:
    drop(builder, said(builder, "f6", 2)[-1])


def a_ui_chunk_after_the_end(builder: HistoryBuilder) -> None:
    repeat(builder, said(builder, "f6", 2)[-1])


def nothing_runs(builder: HistoryBuilder) -> None:
    """A page that is loaded anew is told so, while the job runs."""
    lines = said(builder, "f6", 2)
    for line in lines:
        drop(builder, line)
    opened = builder.line(kind="open", watch=lines[0]["watch"])
    opened["status"] = 204
    builder.line(kind="client_end", client=opened["client"])["how"] = "204"


def refused(**fields: Any) -> Callable[[HistoryBuilder], None]:
    """A submit by chat completions that was refused in some other form, and then repeated."""

    def plant(builder: HistoryBuilder) -> None:
        right = {"status": 503, "says": error("redis_unavailable"), "form": "application/json", "again": "true"}
        builder.line(kind="submit", tag="f3").update({**right, **fields})

    return plant


Planted = Callable[[HistoryBuilder], None]
PLANTED: list[tuple[Planted, Rule]] = [
    (a_chunk_left_out, Rule.GAP),
    (a_chunk_twice, Rule.REPEAT),
    (two_texts_in_one, Rule.MIXED),
    (a_restart_before_the_text_is_told, Rule.STATUS),
    (a_restart_that_is_none, Rule.STATUS),
    (another_error, Rule.STATUS),
    (an_interruption_without_a_reason, Rule.STATUS),
    (a_chunk_after_the_end, Rule.SECOND_END),
    (an_end_without_an_end, Rule.MISSING_END),
    (a_chunk_of_another_completion, Rule.BYTES),
    (a_whole_answer_of_both_attempts, Rule.CONTENT),
    (a_whole_answer_of_a_job_that_failed, Rule.STATUS),
    (a_second_job_for_a_repeat, Rule.TWO_JOBS),
    (an_event_left_out, Rule.GAP),
    (an_event_left_out_and_no_number, Rule.GAP),
    (an_event_twice, Rule.REPEAT),
    (a_resume_too_early, Rule.REPEAT),
    (a_resume_too_late, Rule.GAP),
    (text_of_the_lost_attempt, Rule.STATUS),
    (another_end, Rule.STATUS),
    (an_event_after_the_end, Rule.SECOND_END),
    (no_end_of_a_response, Rule.MISSING_END),
    (a_stream_that_ends_early, Rule.MISSING_END),
    (another_response, Rule.BYTES),
    (an_item_with_two_ids, Rule.BYTES),
    (a_ui_chunk_left_out, Rule.GAP),
    (a_ui_chunk_twice, Rule.REPEAT),
    (no_reset, Rule.GAP),
    (another_message, Rule.BYTES),
    (no_finish, Rule.GAP),
    (no_done, Rule.MISSING_END),
    (a_ui_chunk_after_the_end, Rule.SECOND_END),
    (nothing_runs, Rule.MISSING_END),
]


@pytest.mark.parametrize(("planted", "rule"), PLANTED, ids=[planted.__name__ for planted, _ in PLANTED])
def test_a_planted_fault_is_caught_by_its_rule_and_no_other(planted: Planted, rule: Rule, tmp_path: Path) -> None:
    builder = face_history()
    planted(builder)
    assert rules(builder, tmp_path) == [rule]


@pytest.mark.parametrize(
    "fields",
    [
        {"status": 500},
        {"says": '{"title":"Service Unavailable"}'},
        {"says": "Redis is away."},
        {"again": "false"},
        {"again": None},
    ],
)
def test_a_refusal_has_the_form_of_its_face(fields: dict[str, Any], tmp_path: Path) -> None:
    builder = face_history()
    refused()(builder)
    assert rules(builder, tmp_path) == []
    refused(**fields)(builder)
    assert rules(builder, tmp_path) == [Rule.ANSWER]


def test_a_repeat_may_be_a_second_job_if_the_first_was_cancelled_or_late(tmp_path: Path) -> None:
    """The first client was gone; or its submit reached Redis behind the repeat."""
    builder = face_history()
    a_second_job_for_a_repeat(builder)
    assert rules(builder, tmp_path) == [Rule.TWO_JOBS]
    builder.line(kind="submit", tag="f3")["late"] = True
    assert rules(builder, tmp_path) == []


def test_an_attempt_of_a_job_that_redis_forgot_is_the_text_of_one_call(tmp_path: Path) -> None:
    builder = face_history()
    builder.fault("redis_forget", 202.0, 206.0, "redis", since=1_000_202.0)
    assert rules(builder, tmp_path) == []
    change(said(builder, "f6", 1)[4], delta=attempts("f6")[0][0])
    assert rules(builder, tmp_path) == [Rule.MIXED]


@pytest.mark.parametrize("left", [False, True])
def test_an_api_that_stops_interrupts_its_streams(left: bool, tmp_path: Path) -> None:
    """A client may leave between the error and `[DONE]`."""
    builder = face_history()
    an_interruption_without_a_reason(builder)
    drop(builder, said(builder, "f2")[-3])
    builder.fault("api_drain", 200.1, 203.0, "api-1", pid=5)
    if left:
        line = said(builder, "f2")[-1]
        drop(builder, line)
        builder.line(kind="close", watch=line["watch"])["how"] = "left"
        opened = builder.line(kind="open", watch=line["watch"])
        builder.line(kind="client_end", client=opened["client"])["how"] = "left"
    assert rules(builder, tmp_path) == []


def test_a_job_whose_turn_redis_has_lost_is_cancelled_by_its_thread(tmp_path: Path) -> None:
    builder = face_history()
    log = [QUEUED, end("cancelled", [], by="thread")]
    submit(builder, "f7", "ai_sdk", 200.0)
    builder.job("f7", log, 200.0, 202.0)
    assert rules(builder, tmp_path) == [Rule.CANCELLED]
    builder.fault("redis_failover", 201.0, 203.0, "redis", since=1_000_201.0)
    assert rules(builder, tmp_path) == []


def test_a_stream_that_was_cut_off_is_part_of_an_attempt(tmp_path: Path) -> None:
    """An answer that was cut off may be any part of an attempt, from its start."""
    builder = face_history()
    lines = said(builder, "f1")
    for line in lines[-2:]:
        drop(builder, line)
    builder.line(kind="close", watch=lines[0]["watch"])["how"] = "reset"
    builder.line(kind="client_end", client=builder.line(kind="open", watch=lines[0]["watch"])["client"])["how"] = "left"
    assert rules(builder, tmp_path) == []


def test_a_resumed_refusal_of_a_job_with_lost_events_is_no_text_of_a_call() -> None:
    """Its client does not see again how the text began."""
    log = [
        ("1-0", {"type": "refusal", "data": '{"content":"I"}'}),
        ("2-0", {"type": "refusal", "data": '{"content":" help"}'}),
    ]
    delta = Line("clients.jsonl", 1.0, {"data": '{"type":"text-delta","id":"1","delta":" help"}'})
    watch = Watch("w1", "id-j1", 3, Line("clients.jsonl", 1.0, {"form": "ai_sdk", "status": 200}), said=[delta])
    assert check_forgotten_face(watch, Job("id-j1", {}, log, {}), []) is None
    content = [(number, {**row, "type": "content"}) for number, row in log]
    found = check_forgotten_face(watch, Job("id-j1", {}, content, {}), [])
    assert found is not None
    assert found.rule is Rule.MIXED
