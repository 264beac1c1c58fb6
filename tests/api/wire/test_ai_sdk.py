"""The AI SDK's stream, byte for byte, and the numbers of its chunks. Its own parsers judge it in `tests/clients/`."""

from __future__ import annotations

from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.api.wire.ai_sdk import AiSdkStream, FromChunk, Reset
from readalong.api.wire.format import fresh
from readalong.core.events import TYPES, UNNUMBERED, Event, merge
from tests.api.wire.parts import frames_of

JOB = "0123456789abcdefABCDEF"
QUEUED = ("queued", {"job_id": JOB, "model": "m", "created_at": "2026-01-01T00:00:00.000Z"})
STARTED = ("started", {"attempt": 1, "epoch": "e", "worker": {}})
START = (
    b'data: {"type":"start","messageId":"msg_%s","messageMetadata":{"jobId":"%s","model":"m",'
    b'"createdAt":"2026-01-01T00:00:00.000Z"}}\n\n' % (JOB.encode(), JOB.encode())
)
STEP = b'data: {"type":"start-step"}\n\n'
DONE = b"data: [DONE]\n\n"

Written = tuple[str, dict[str, Any]]


def log_of(*events: Written) -> list[Event]:
    return [Event(seq, kind, orjson.dumps(fields)) for seq, (kind, fields) in enumerate(events, 1)]


def bytes_of(*events: Written, reset: Reset = "reset-step", message_id: str = "") -> bytes:
    return b"".join(frames_of(AiSdkStream(reset, message_id), log_of(QUEUED, STARTED, *events)))


def say(text: str, **more: Any) -> Written:
    return "content", {"content": text, **more}


def delta(arguments: str, *, index: int = 0, name: str = "f", **more: Any) -> Written:
    return "tool_call_delta", {"index": index, "id": "c", "name": name, "arguments": arguments, **more}


END: Written = ("done", {"finish_reason": "stop", "content": "", "usage": None, "metrics": {}})
FINISH = b'data: {"type":"finish-step"}\n\ndata: {"type":"finish","finishReason":"stop","messageMetadata":{}}\n\n'

GOLDEN: dict[str, tuple[list[Written], bytes]] = {
    "reasoning, text and usage": (
        [
            ("reasoning", {"content": "Hm"}),
            say("Hé\u2028"),
            say(""),
            say(" you", logprobs={}),
            say("other", choice=1),
            (
                "done",
                {
                    "finish_reason": "length",
                    "content": "",
                    "usage": {
                        "prompt_tokens": 1,
                        "completion_tokens": 2,
                        "total_tokens": 3,
                        "prompt_tokens_details": {"cached_tokens": 4},
                        "completion_tokens_details": {"reasoning_tokens": 5},
                    },
                    "metrics": {"total_seconds": 0.5},
                },
            ),
        ],
        b'data: {"type":"reasoning-start","id":"1"}\n\n'
        b'data: {"type":"reasoning-delta","id":"1","delta":"Hm"}\n\n'
        b'data: {"type":"reasoning-end","id":"1"}\n\n'
        b'data: {"type":"text-start","id":"2"}\n\n'
        + 'data: {"type":"text-delta","id":"2","delta":"Hé\u2028"}\n\n'.encode()
        + b'data: {"type":"text-delta","id":"2","delta":" you"}\n\n'
        b'data: {"type":"text-end","id":"2"}\n\n'
        b'data: {"type":"finish-step"}\n\n'
        b'data: {"type":"finish","finishReason":"length","messageMetadata":{"usage":{"inputTokens":1,"outputTokens":2,'
        b'"totalTokens":3,"cachedInputTokens":4,"reasoningTokens":5},"metrics":{"total_seconds":0.5}}}\n\n',
    ),
    "a refusal is a text that says so": (
        [("refusal", {"content": "No"}), END],
        b'data: {"type":"text-start","id":"1","providerMetadata":{"readalong":{"refusal":true}}}\n\n'
        b'data: {"type":"text-delta","id":"1","delta":"No"}\n\ndata: {"type":"text-end","id":"1"}\n\n' + FINISH,
    ),
    "calls that come in pieces, with a name that grows, and without an id of their own": (
        [
            say("x"),
            delta("", name="get_"),
            delta('{"a":', name="get_weather"),
            delta("1}", name="get_weather"),
            delta("{", index=1),
            ("tool_call", {"index": 0, "id": "c", "name": "get_weather", "arguments": {"a": 1}, "extra_content": {}}),
            (
                "tool_call",
                {"index": 1, "id": "c", "name": "f", "arguments": None, "arguments_error": "E", "arguments_text": "{"},
            ),
            (
                "tool_call",
                {"index": 2, "id": "u", "name": "s", "tool_type": "custom", "arguments": None, "input": "ls"},
            ),
            ("function_call", {"name": "old", "arguments": {}}),
            ("done", {"finish_reason": "tool_calls"}),
        ],
        b'data: {"type":"text-start","id":"1"}\n\n'
        b'data: {"type":"text-delta","id":"1","delta":"x"}\n\n'
        b'data: {"type":"text-end","id":"1"}\n\n'
        b'data: {"type":"tool-input-start","toolCallId":"c","toolName":"get_weather"}\n\n'
        b'data: {"type":"tool-input-delta","toolCallId":"c","inputTextDelta":"{\\"a\\":"}\n\n'
        b'data: {"type":"tool-input-delta","toolCallId":"c","inputTextDelta":"1}"}\n\n'
        b'data: {"type":"tool-input-start","toolCallId":"call_0123456789abcdefABCDEF_1","toolName":"f"}\n\n'
        b'data: {"type":"tool-input-delta","toolCallId":"call_0123456789abcdefABCDEF_1","inputTextDelta":"{"}\n\n'
        b'data: {"type":"tool-input-available","toolCallId":"c","toolName":"get_weather","input":{"a":1},'
        b'"providerMetadata":{"readalong":{"extra_content":{}}}}\n\n'
        b'data: {"type":"tool-input-error","toolCallId":"call_0123456789abcdefABCDEF_1","toolName":"f","input":"{",'
        b'"errorText":"The arguments are no JSON: E"}\n\n'
        b'data: {"type":"tool-input-available","toolCallId":"u","toolName":"s","input":"ls",'
        b'"providerMetadata":{"readalong":{"type":"custom"}}}\n\n'
        b'data: {"type":"tool-input-available","toolCallId":"call_0123456789abcdefABCDEF_-1","toolName":"old",'
        b'"input":{}}\n\n'
        b'data: {"type":"finish-step"}\n\n'
        b'data: {"type":"finish","finishReason":"tool-calls","messageMetadata":{}}\n\n',
    ),
    "a wait, which no message keeps": (
        [("waiting", {"for": "model", "reason": "model_unreachable", "seconds": 1}), END],
        b'data: {"type":"data-readalong","data":{"status":"waiting","for":"model","reason":"model_unreachable",'
        b'"seconds":1},"transient":true}\n\n' + FINISH,
    ),
    "a cancel": (
        [say("x"), ("cancelled", {"by": "client", "content": "x", "metrics": {"chunk_count": 1}})],
        b'data: {"type":"text-start","id":"1"}\n\ndata: {"type":"text-delta","id":"1","delta":"x"}\n\n'
        b'data: {"type":"text-end","id":"1"}\n\ndata: {"type":"abort","reason":"Cancelled by client."}\n\n'
        b'data: {"type":"finish","messageMetadata":{"metrics":{"chunk_count":1}}}\n\n',
    ),
    "a failure, whose code comes before the error": (
        [("failed", {"error": {"code": "model_cut", "message": "It broke.", "retryable": True}, "metrics": {}})],
        b'data: {"type":"message-metadata","messageMetadata":{"error":{"code":"model_cut","retryable":true}}}\n\n'
        b'data: {"type":"error","errorText":"It broke."}\n\n'
        b'data: {"type":"finish","finishReason":"error"}\n\n',
    ),
}


@pytest.mark.parametrize("what", GOLDEN)
def test_what_a_log_looks_like_to_the_ai_sdk(what: str) -> None:
    """The very bytes."""
    events, wanted = GOLDEN[what]
    assert bytes_of(*events) == START + STEP + wanted + DONE


RESTART: list[Written] = [
    say("lost"),
    delta("{"),
    ("restarted", {"attempt": 2, "reason": "worker_lost", "epoch": "e", "worker": {}}),
    delta("[]"),
    say("kept"),
    END,
]
BEFORE = (
    b'data: {"type":"text-start","id":"1"}\n\ndata: {"type":"text-delta","id":"1","delta":"lost"}\n\n'
    b'data: {"type":"text-end","id":"1"}\n\n'
    b'data: {"type":"tool-input-start","toolCallId":"c","toolName":"f"}\n\n'
    b'data: {"type":"tool-input-delta","toolCallId":"c","inputTextDelta":"{"}\n\n'
)
#: With a new part id: the same one again would be the old part to some clients.
AFTER = (
    b'data: {"type":"tool-input-start","toolCallId":"c","toolName":"f"}\n\n'
    b'data: {"type":"tool-input-delta","toolCallId":"c","inputTextDelta":"[]"}\n\n'
    b'data: {"type":"text-start","id":"2"}\n\ndata: {"type":"text-delta","id":"2","delta":"kept"}\n\n'
    b'data: {"type":"text-end","id":"2"}\n\n' + FINISH + DONE
)
TOLD: dict[Reset, bytes] = {
    "reset-step": b'data: {"type":"reset-step"}\n\n',
    "data": b'data: {"type":"finish-step"}\n\n'
    b'data: {"type":"data-readalong","data":{"status":"restarted","attempt":2,"reason":"worker_lost"}}\n\n'
    b'data: {"type":"start-step"}\n\n',
}


@pytest.mark.parametrize("reset", get_args(Reset))
def test_a_lost_worker_is_told_as_the_version_of_the_client_knows_it(reset: Reset) -> None:
    """`reset-step` drops what the lost attempt said; a data part marks where the parts that count begin."""
    assert bytes_of(*RESTART, reset=reset) == START + STEP + BEFORE + TOLD[reset] + AFTER


def test_an_answer_to_tool_results_continues_their_message() -> None:
    """With another id the client would show the whole message twice."""
    assert bytes_of(END, message_id="theirs").startswith(b'data: {"type":"start","messageId":"theirs",')


def test_what_is_not_in_the_log_has_no_chunk() -> None:
    """It would shift the numbers of all chunks behind it."""
    waiting = Event(UNNUMBERED, "waiting", b'{"for":"worker","since":"2026-01-01T00:00:00.000Z"}')
    assert fresh(AiSdkStream()).encode(waiting) == b""


pieces = st.one_of(
    st.tuples(
        st.sampled_from(["content", "reasoning", "refusal"]),
        st.builds(
            lambda text, choice: {"content": text, **choice}, st.text(max_size=3), st.sampled_from([{}, {"choice": 1}])
        ),
    ),
    st.builds(delta, st.text(max_size=2), index=st.integers(0, 1), id=st.sampled_from([None, "c"])),
    st.just(("restarted", {"attempt": 2, "reason": "worker_lost", "epoch": "e", "worker": {}})),
)


@given(st.lists(pieces, max_size=12))
def test_a_merged_log_leads_to_the_same_state_and_the_chunks_are_counted(events: list[Written]) -> None:
    """Else the numbers of the chunks behind it would depend on how the log is stored."""
    log = log_of(QUEUED, STARTED, *events)
    split, merged = fresh(AiSdkStream()), fresh(AiSdkStream())
    frames = b"".join(split.encode(event) for event in log)
    for event in merge(log):
        merged.encode(event)
    assert isinstance(split, AiSdkStream)
    assert isinstance(merged, AiSdkStream)
    assert split.chunks == merged.chunks == frames.count(b"\n\n")
    assert split.opened_at == merged.opened_at
    assert split.encode(log_of(END)[0]) == merged.encode(log_of(END)[0])


CHUNKS = (START + STEP + BEFORE + TOLD["reset-step"] + AFTER).split(b"\n\n")[:-2]


@pytest.mark.parametrize("number", range(len(CHUNKS) + 2))
@pytest.mark.parametrize("together", [1, 3, 100])
def test_a_client_gets_the_chunks_from_its_number_on(number: int, together: int) -> None:
    """However many events come at once, with comments between them; one that has all gets the last again."""
    frames = frames_of(AiSdkStream(), log_of(QUEUED, STARTED, *RESTART))
    cut, got = FromChunk(number), b""
    for first in range(0, len(frames), together):
        assert cut.cut(b": still here\n\n") == (b": still here\n\n", False)
        shown, ends = cut.cut(b"".join(frames[first : first + together]))
        assert not ends
        got += shown
    assert got == b"".join(chunk + b"\n\n" for chunk in CHUNKS[min(number, len(CHUNKS) - 1) :]) + DONE


def test_there_is_a_chunk_for_each_type() -> None:
    """A new type must say how it looks to the AI SDK."""
    shown = {kind for events, _ in GOLDEN.values() for kind, _ in events} | {kind for kind, _ in RESTART}
    assert shown | {"queued", "started"} == TYPES


def test_two_streams_of_one_job_share_their_bytes() -> None:
    """The fan-out finds the bytes of a format by the format."""
    used = AiSdkStream("data", "x")
    used.encode(log_of(QUEUED)[0])
    assert {used: 1}[AiSdkStream("data", "x")] == 1
    assert AiSdkStream("data") != AiSdkStream("reset-step")
