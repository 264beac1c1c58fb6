"""AG-UI's events, byte for byte. Its own verifier and reducer judge them in `tests/clients/`."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from readalong.api.wire.ag_ui import AfterFrame, AgUi
from readalong.core.events import UNNUMBERED, Event
from tests.api.wire.parts import frames_of

JOB = "0123456789abcdefABCDEF"
RUN = AgUi("t", "r", "p", b'[{"id":"u","role":"user","content":"hi"}]')
Written = tuple[str, dict[str, Any]]
QUEUED: Written = ("queued", {"job_id": JOB, "model": "m", "created_at": "2026-01-01T00:00:00.000Z"})
STARTED: Written = ("started", {"attempt": 1, "epoch": "e", "worker": {}})


def log_of(*events: Written) -> list[Event]:
    return [
        Event(seq, kind, orjson.dumps(fields), (), "" if seq == 1 else "e")
        for seq, (kind, fields) in enumerate((QUEUED, STARTED, *events), 1)
    ]


def shown(*events: Written) -> list[str]:
    """The frames behind those of `queued` and `started`: their ids and events, a line each."""
    return text_of(b"".join(frames_of(RUN, log_of(*events))[2:]))


def text_of(frames: bytes) -> list[str]:
    return [frame.replace("\ndata: ", " ").removeprefix("id: ") for frame in frames.decode().split("\n\n") if frame]


def say(text: str, **more: Any) -> Written:
    return "content", {"content": text, **more}


def piece(arguments: str, index: int = 0, name: str = "f") -> Written:
    return "tool_call_delta", {"index": index, "id": "c", "name": name, "arguments": arguments}


GOLDEN: dict[str, tuple[list[Written], list[str]]] = {
    "reasoning, text, another choice, a refusal, and an end with usage": (
        [
            ("reasoning", {"content": "Hm"}),
            say("Hé\u2028"),
            say(""),
            say("other", choice=1),
            ("refusal", {"content": "No"}),
            (
                "done",
                {
                    "finish_reason": "length",
                    "usage": {
                        "prompt_tokens": 1,
                        "completion_tokens": 2.5,
                        "total_tokens": 3,
                        "completion_tokens_details": {"reasoning_tokens": 5},
                    },
                    "metrics": {"total_seconds": 0.5},
                },
            ),
        ],
        [
            f'2-e.1 {{"type":"REASONING_START","messageId":"rs_{JOB}_1"}}',
            f'2-e.2 {{"type":"REASONING_MESSAGE_START","messageId":"rs_{JOB}_1","role":"reasoning"}}',
            f'3-e {{"type":"REASONING_MESSAGE_CONTENT","messageId":"rs_{JOB}_1","delta":"Hm"}}',
            f'3-e.1 {{"type":"REASONING_MESSAGE_END","messageId":"rs_{JOB}_1"}}',
            f'3-e.2 {{"type":"REASONING_END","messageId":"rs_{JOB}_1"}}',
            f'3-e.3 {{"type":"TEXT_MESSAGE_START","messageId":"msg_{JOB}","role":"assistant"}}',
            f'4-e {{"type":"TEXT_MESSAGE_CONTENT","messageId":"msg_{JOB}","delta":"Hé\u2028"}}',
            f'6-e.1 {{"type":"TEXT_MESSAGE_END","messageId":"msg_{JOB}"}}',
            f'6-e.2 {{"type":"TEXT_MESSAGE_START","messageId":"msg_{JOB}","role":"assistant",'
            '"metadata":{"readalong":{"refusal":true}}}',
            f'7-e {{"type":"TEXT_MESSAGE_CONTENT","messageId":"msg_{JOB}","delta":"No"}}',
            f'7-e.1 {{"type":"TEXT_MESSAGE_END","messageId":"msg_{JOB}"}}',
            '7-e.2 {"type":"STEP_FINISHED","stepName":"attempt 1"}',
            '8-e {"type":"RUN_FINISHED","threadId":"t","runId":"r","outcome":{"type":"success"},'
            '"usage":[{"model":"m","inputTokens":1,"totalTokens":3,"reasoningTokens":5}],'
            '"metadata":{"readalong":{"metrics":{"total_seconds":0.5},"finishReason":"length"}}}',
        ],
    ),
    "calls that come in pieces, whole, and with one id": (
        [
            say("x"),
            piece("", name="lo"),
            piece('{"a":', name="look"),
            piece("{", 1),
            ("tool_call", {"index": 0, "id": "c", "name": "look", "arguments": {"a": 1}, "extra_content": {"s": 1}}),
            ("tool_call", {"index": 2, "id": "d", "name": "g", "arguments": None}),
            ("cancelled", {"by": "client"}),
        ],
        [
            f'2-e.1 {{"type":"TEXT_MESSAGE_START","messageId":"msg_{JOB}","role":"assistant"}}',
            f'3-e {{"type":"TEXT_MESSAGE_CONTENT","messageId":"msg_{JOB}","delta":"x"}}',
            f'4-e.1 {{"type":"TEXT_MESSAGE_END","messageId":"msg_{JOB}"}}',
            f'4-e.2 {{"type":"TOOL_CALL_START","toolCallId":"c","toolCallName":"look","parentMessageId":"msg_{JOB}"}}',
            '5-e {"type":"TOOL_CALL_ARGS","toolCallId":"c","delta":"{\\"a\\":"}',
            f'5-e.1 {{"type":"TOOL_CALL_START","toolCallId":"call_{JOB}_1","toolCallName":"f",'
            f'"parentMessageId":"msg_{JOB}"}}',
            f'6-e {{"type":"TOOL_CALL_ARGS","toolCallId":"call_{JOB}_1","delta":"{{"}}',
            '7-e {"type":"TOOL_CALL_END","toolCallId":"c","metadata":{"readalong":{"extra_content":{"s":1}}}}',
            f'7-e.1 {{"type":"TOOL_CALL_START","toolCallId":"d","toolCallName":"g","parentMessageId":"msg_{JOB}"}}',
            '7-e.2 {"type":"TOOL_CALL_ARGS","toolCallId":"d","delta":""}',
            '8-e {"type":"TOOL_CALL_END","toolCallId":"d"}',
            f'8-e.1 {{"type":"TOOL_CALL_END","toolCallId":"call_{JOB}_1"}}',
            '8-e.2 {"type":"STEP_FINISHED","stepName":"attempt 1"}',
            '9-e {"type":"RUN_FINISHED","threadId":"t","runId":"r","outcome":{"type":"cancelled"},'
            '"metadata":{"readalong":{"by":"client"}}}',
        ],
    ),
    "a restart voids reasoning and text, and a failure": (
        [
            ("reasoning", {"content": "Hm"}),
            ("restarted", {"attempt": 2, "reason": "worker_lost", "epoch": "e", "worker": {}}),
            say("x"),
            ("failed", {"error": {"code": "model_cut", "message": "Cut.", "retryable": True}}),
        ],
        [
            f'2-e.1 {{"type":"REASONING_START","messageId":"rs_{JOB}_1"}}',
            f'2-e.2 {{"type":"REASONING_MESSAGE_START","messageId":"rs_{JOB}_1","role":"reasoning"}}',
            f'3-e {{"type":"REASONING_MESSAGE_CONTENT","messageId":"rs_{JOB}_1","delta":"Hm"}}',
            f'3-e.1 {{"type":"REASONING_MESSAGE_END","messageId":"rs_{JOB}_1"}}',
            f'3-e.2 {{"type":"REASONING_END","messageId":"rs_{JOB}_1"}}',
            '3-e.3 {"type":"STEP_FINISHED","stepName":"attempt 1"}',
            '3-e.4 {"type":"MESSAGES_SNAPSHOT","messages":[{"id":"u","role":"user","content":"hi"},'
            f'{{"id":"rs_{JOB}_1","role":"reasoning","content":""}}]}}',
            '3-e.5 {"type":"CUSTOM","name":"readalong.restarted","value":{"attempt":2,"reason":"worker_lost"}}',
            '4-e {"type":"STEP_STARTED","stepName":"attempt 2"}',
            f'4-e.1 {{"type":"TEXT_MESSAGE_START","messageId":"msg_{JOB}_a2","role":"assistant"}}',
            f'5-e {{"type":"TEXT_MESSAGE_CONTENT","messageId":"msg_{JOB}_a2","delta":"x"}}',
            f'5-e.1 {{"type":"TEXT_MESSAGE_END","messageId":"msg_{JOB}_a2"}}',
            '5-e.2 {"type":"STEP_FINISHED","stepName":"attempt 2"}',
            '6-e {"type":"RUN_ERROR","message":"Cut.","code":"model_cut","metadata":{"readalong":{"retryable":true}}}',
        ],
    ),
    "Redis has lost what the client has, which may be open there": (
        [("restarted", {"attempt": 1, "reason": "log_lost", "epoch": "e", "worker": {}})],
        [
            '2-e.1 {"type":"RUN_ERROR","message":"Redis has lost a part of the run. The run goes on.",'
            '"code":"log_lost"}',
            '2-e.2 {"type":"RUN_STARTED","threadId":"t","runId":"r","protocolVersion":"1.0","parentRunId":"p"}',
            '2-e.3 {"type":"MESSAGES_SNAPSHOT","messages":[{"id":"u","role":"user","content":"hi"},'
            f'{{"id":"rs_{JOB}_1","role":"reasoning","content":""}}]}}',
            '2-e.4 {"type":"CUSTOM","name":"readalong.restarted","value":{"attempt":1,"reason":"log_lost"}}',
            '3-e {"type":"STEP_STARTED","stepName":"attempt 1"}',
        ],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_these_events_are_these_bytes(name: str) -> None:
    events, frames = GOLDEN[name]
    assert shown(*events) == frames


def test_a_run_begins_with_its_ids_and_its_job() -> None:
    told = f'{{"jobId":"{JOB}","model":"m","createdAt":"2026-01-01T00:00:00.000Z"}}'
    assert text_of(b"".join(frames_of(RUN, log_of()))) == [
        '0.1 {"type":"RUN_STARTED","threadId":"t","runId":"r","protocolVersion":"1.0","parentRunId":"p"}',
        f'1 {{"type":"CUSTOM","name":"readalong.queued","value":{told}}}',
        '2-e {"type":"STEP_STARTED","stepName":"attempt 1"}',
    ]


def test_a_wait_for_a_worker_has_no_position() -> None:
    waiting = Event(UNNUMBERED, "waiting", b'{"for":"worker"}')
    assert RUN.encode(waiting) == (b'data: {"type":"CUSTOM","name":"readalong.waiting","value":{"for":"worker"}}\n\n')


def test_a_client_goes_on_behind_each_frame_of_an_event() -> None:
    """Of the frames behind the position that its frame's id names, it has the first ones. In a log that has become
    another one it gets all."""
    events, _ = GOLDEN["a restart voids reasoning and text, and a failure"]
    each = frames_of(RUN, log_of(*events))
    whole = b"".join(each)
    for frame in whole.split(b"\n\n")[:-1]:
        frame_id = frame.partition(b"\n")[0].removeprefix(b"id: ").decode()
        position, dot, _ = frame_id.partition(".")
        if dot:
            rest = b"".join(each[int(position.partition("-")[0]) :])
            cut = AfterFrame(frame_id)
            assert cut.cut(b": a comment\n\n") == (b": a comment\n\n", False)
            told, ends = cut.cut(rest)
            assert (whole[: whole.index(frame)] + frame + b"\n\n" + told, ends) == (whole, False)
            assert cut.cut(rest) == (rest, False)
    assert AfterFrame("3-x.1").cut(whole) == (whole, False)
