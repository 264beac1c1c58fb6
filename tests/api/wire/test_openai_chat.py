"""OpenAI's chunks and completions of a log, to the byte, judged by the SDK's own types and accumulator."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import orjson
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from readalong.api.wire.openai_chat import ChatParameters, OneAnswer, OpenAIChat, openai_chat
from readalong.api.wire.openai_completion import ChatCompletionFold
from readalong.core.events import Event, merge
from readalong.core.sse import Decoder
from tests.api.wire.parts import frames_of

ID, CREATED, MODEL = "chatcmpl-abcdefghijklmnop", 1_763_850_000, "m"
PLAIN = OpenAIChat(ChatParameters(ID, CREATED, MODEL))
HEAD = '{"id":"chatcmpl-abcdefghijklmnop","object":"chat.completion.chunk","created":1763850000,"model":"m"'
BEGUN = [("queued", {"job_id": "abcdefghijklmnop"}), ("started", {"attempt": 1})]

Log = list[tuple[str, dict[str, Any]]]


def events(*said: tuple[str, dict[str, Any]]) -> list[Event]:
    return [Event(seq, kind, orjson.dumps(fields)) for seq, (kind, fields) in enumerate([*BEGUN, *said], 1)]


def done(**fields: Any) -> tuple[str, dict[str, Any]]:
    return "done", {"finish_reason": "stop", "content": "", "usage": None, "metrics": {}, **fields}


def stream(wire: OpenAIChat, *said: tuple[str, dict[str, Any]]) -> bytes:
    return b"".join(frames_of(wire, events(*said)))


def chunks(frames: bytes) -> list[Any]:
    """The data of each frame; the last one must be the end."""
    *found, end = [message.data for message in Decoder().feed(frames)]
    assert end == b"[DONE]"
    return [orjson.loads(data) for data in found]


def accumulated(frames: bytes) -> Any:
    """What the SDK's accumulator makes of the chunks, each of which its strict types accept."""
    state = ChatCompletionStreamState()
    for chunk in chunks(frames):
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    return state.get_final_completion()


def folded(*said: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """The completion of the same log, read merged and one by one."""
    answers = []
    for log in (events(*said), list(merge(events(*said)))):
        fold = ChatCompletionFold()
        fold.add_all(log)
        assert fold.ended
        answers.append(fold.as_json(ID, CREATED, MODEL))
    assert answers[0] == answers[1]
    ChatCompletion.model_validate(answers[0])
    return answers[0]


def choice(index: int = 0, reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


ROLE = choice(role="assistant", content="")


def test_a_text_is_these_bytes() -> None:
    """The role first, a chunk for each event, the finish reason last; nothing before the answer begins."""
    said: Log = [("content", {"content": "Hé\n"}), ("content", {"content": " you"}), done()]
    assert frames_of(PLAIN, events(*said))[:2] == [b"", b""]
    shown = [
        '{"role":"assistant","content":""},"logprobs":null,"finish_reason":null',
        '{"content":"Hé\\n"},"logprobs":null,"finish_reason":null',
        '{"content":" you"},"logprobs":null,"finish_reason":null',
        '{},"logprobs":null,"finish_reason":"stop"',
    ]
    wanted = "".join(f'data: {HEAD},"choices":[{{"index":0,"delta":{each}}}]}}\n\n' for each in shown)
    assert stream(PLAIN, *said).decode() == f"{wanted}data: [DONE]\n\n"
    assert folded(*said)["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hé\n you", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]


def test_no_line_end_of_unicode_cuts_a_chunk() -> None:
    """Clients read lines by `str.splitlines`, as httpx does."""
    text = "a\u2028b\u2029c\x85d\x0be“f”"
    frames = stream(PLAIN, ("content", {"content": text}), done())
    lines = [line for line in frames.decode().splitlines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert orjson.loads(lines[1].removeprefix("data: "))["choices"][0]["delta"]["content"] == text


def test_usage_comes_in_a_chunk_of_its_own_if_it_is_asked_for() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    said: Log = [("content", {"content": "a"}), done(usage=usage)]
    wire = OpenAIChat(ChatParameters(ID, CREATED, MODEL, include_usage=True))
    found = chunks(stream(wire, *said))
    assert [each["usage"] for each in found] == [None, None, None, usage]
    assert found[-1]["choices"] == []
    assert accumulated(stream(wire, *said)).usage.total_tokens == 3
    assert not any("usage" in each for each in chunks(stream(PLAIN, *said)))
    assert folded(*said)["usage"] == usage


def test_calls_say_their_id_and_name_once_and_their_arguments_as_the_model_did() -> None:
    def call(index: int, text: str, name: str | None = "f", **more: Any) -> tuple[str, dict[str, Any]]:
        return "tool_call_delta", {"index": index, "id": f"c{index}", "name": name, "arguments": text, **more}

    said: Log = [
        call(0, "", name="f"),
        call(0, '{"a": '),
        call(0, "1}", extra_content={"signature": "s"}),
        call(1, "to", name="custom", tool_type="custom"),
        call(1, "ols", name="custom_tool", tool_type="custom"),
        (
            "tool_call",
            {"index": 0, "id": "c0", "name": "f", "arguments": {"a": 1}, "extra_content": {"signature": "s"}},
        ),
        (
            "tool_call",
            {"index": 1, "id": "c1", "name": "custom_tool", "tool_type": "custom", "arguments": None, "input": "tools"},
        ),
        done(finish_reason="tool_calls"),
    ]
    deltas = [each["choices"][0]["delta"].get("tool_calls") for each in chunks(stream(PLAIN, *said))]
    assert [each[0] for each in deltas if each] == [
        {"index": 0, "id": "c0", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a": '}},
        {"index": 0, "function": {"arguments": "1}"}, "extra_content": {"signature": "s"}},
        {"index": 1, "id": "c1", "type": "custom", "custom": {"name": "custom", "input": "to"}},
        {"index": 1, "custom": {"name": "_tool", "input": "ols"}},
    ]
    message = folded(*said)["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {
            "id": "c0",
            "type": "function",
            "function": {"name": "f", "arguments": '{"a": 1}'},
            "extra_content": {"signature": "s"},
        },
        {"id": "c1", "type": "custom", "custom": {"name": "custom_tool", "input": "tools"}},
    ]
    [first] = accumulated(stream(PLAIN, *said[:3], *said[5:6], said[-1])).choices[0].message.tool_calls
    assert (first.id, first.function.name, first.function.arguments) == ("c0", "f", '{"a": 1}')


def test_calls_that_come_in_turns_are_said_one_after_the_other() -> None:
    """The SDKs' helper ends a call, and parses it, when another one begins."""

    def piece(index: int, text: str, **more: Any) -> tuple[str, dict[str, Any]]:
        return "tool_call_delta", {"index": index, "id": f"c{index}", "name": "f", "arguments": text, **more}

    turns = [('{"q', '{"r": ["}\\'), ('": "\\"', '""]'), ('"}', "}")]
    log = [
        *(piece(index, text) for turn in turns for index, text in enumerate(turn)),
        *(piece(0, text, choice=1) for text in ('{"s"', ":1}")),
        piece(1, "{", choice=1),
        piece(1, "}", choice=1),
        piece(2, '{"last": 1}'),
    ]
    calls = [
        ("tool_call", {"index": 0, "id": "c0", "name": "f", "arguments": {"q": '"'}}),
        done(tool_calls=[{"index": 0}], choices=[{"choice": 1, "finish_reason": "tool_calls"}]),
    ]
    strict: Any = {"type": "function", "function": {"name": "f", "strict": True, "parameters": {}}}
    state, ended = ChatCompletionStreamState(input_tools=[strict]), []
    said = chunks(stream(OpenAIChat(ChatParameters(ID, CREATED, MODEL, choices=2)), *log, *calls))
    for chunk in said:
        for event in state.handle_chunk(ChatCompletionChunk.model_validate(chunk)):
            if event.type == "tool_calls.function.arguments.done":
                ended.append((event.index, event.parsed_arguments))
    assert ended == [(0, {"s": 1}), (0, {"q": '"'}), (1, {"r": ['}"']}), (2, {"last": 1}), (1, {})]
    # What is whole is followed at once.
    orders = [
        (each["index"], call["index"])
        for c in said
        for each in c["choices"]
        for call in each["delta"].get("tool_calls", ())
    ]
    assert orders == [*[(0, 0)] * 3, *[(1, 0)] * 2, *[(1, 1)] * 2, (0, 1), (0, 2)]


def test_broken_arguments_and_the_legacy_form_are_text_again() -> None:
    broken = {"arguments": None, "arguments_error": "no JSON", "arguments_text": '{"a'}
    said: Log = [
        ("tool_call_delta", {"index": 0, "id": "c", "name": "f", "arguments": '{"a'}),
        ("tool_call", {"index": 0, "id": "c", "name": "f", **broken}),
        ("function_call", {"name": "g", "arguments": {"b": 2}}),
        done(finish_reason=None, tool_calls=[{"index": 0, "id": "c", "name": "f", **broken}]),
    ]
    legacy = {"name": "g", "arguments": '{"b":2}'}
    assert accumulated(stream(PLAIN, *said)).choices[0].message.function_call.model_dump() == legacy
    found = folded(*said)["choices"][0]
    assert found["message"]["tool_calls"][0] == {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": '{"a'},
    }
    assert found["message"]["function_call"] == legacy
    assert found["finish_reason"] == "tool_calls", "the model gave none"


def test_each_choice_has_its_text_its_logprobs_and_its_end() -> None:
    wire = OpenAIChat(ChatParameters(ID, CREATED, MODEL, choices=3))
    reason = "tool_calls"
    token: dict[str, Any] = {"token": "b", "bytes": None, "logprob": -0.5, "top_logprobs": []}
    said: Log = [
        ("content", {"content": "b", "choice": 1, "logprobs": {"content": [token], "refusal": None}}),
        ("content", {"content": "B", "choice": 1, "logprobs": {"content": [token], "refusal": None}}),
        ("content", {"content": "a"}),
        ("refusal", {"content": "no", "choice": 2}),
        done(
            finish_reason=reason,
            choices=[
                {"choice": 1, "content": "bB", "finish_reason": "stop"},
                {"choice": 2, "content": "", "finish_reason": None},
            ],
        ),
    ]
    begun = chunks(stream(wire, *said))[:3]
    assert [each["choices"][0]["index"] for each in begun] == [0, 1, 2], "the SDK's accumulator wants them in order"
    for completion in (accumulated(stream(wire, *said)), ChatCompletion.model_validate(folded(*said))):
        texts = [each.message.content or each.message.refusal for each in completion.choices]
        assert texts == ["a", "bB", "no"]
        assert [each.finish_reason for each in completion.choices] == [reason, "stop", "stop"]
        logprobs: Any = completion.choices[1].logprobs
        assert len(logprobs.content) == 2


def test_reasoning_has_the_models_own_name_for_it() -> None:
    said: Log = [("reasoning", {"content": "h", "field": "reasoning"}), ("reasoning", {"content": "m"}), done()]
    deltas = [each["choices"][0]["delta"] for each in chunks(stream(PLAIN, *said))]
    assert deltas[1:3] == [{"reasoning": "h"}, {"reasoning": "m"}]
    assert folded(*said)["choices"][0]["message"]["reasoning"] == "hm"
    assert accumulated(stream(PLAIN, *said)).choices[0].message.reasoning == "hm"
    usual: Log = [("reasoning", {"content": "hm"}), done()]
    assert folded(*usual)["choices"][0]["message"]["reasoning_content"] == "hm"


CITATION = {
    "type": "url_citation",
    "url_citation": {"start_index": 0, "end_index": 1, "title": "t", "url": "http://a.example"},
}


def test_fields_that_no_event_names_stand_where_the_model_had_them() -> None:
    """Short ones of the whole answer are in each chunk, as models repeat them, and in the first one already."""
    extra = {
        "id": "theirs",
        "model": "m-2026",
        "system_fingerprint": "fp",
        "prompt_filter_results": [{"prompt_index": 0}],
        "choices.0.content_filter_results": {"hate": {}},
        "choices.0.delta.annotations": [CITATION],
    }
    sound = [{"id": "a", "data": "QQ=="}, {"data": "Qg==", "transcript": "hi"}, {"expires_at": 9}]
    joined = {"id": "a", "data": "QQ==Qg==", "transcript": "hi", "expires_at": 9}
    said: Log = [
        ("content", {"content": "x", "extra": extra}),
        *(("content", {"content": "", "extra": {"choices.0.delta.audio": piece}}) for piece in sound),
        done(extra={"choices.0.stop_reason": 7, "citations": ["c"], "service_tier": "default"}),
    ]
    first, second, *_, last = chunks(stream(PLAIN, *said))
    assert all((each["model"], each["system_fingerprint"]) == ("m-2026", "fp") for each in (first, second, last))
    assert (first["id"], "prompt_filter_results" in first) == (ID, False)
    assert second["prompt_filter_results"] == [{"prompt_index": 0}]
    assert second["choices"][0]["content_filter_results"] == {"hate": {}}
    assert second["choices"][0]["delta"] == {"content": "x", "annotations": [CITATION]}
    assert (last["choices"][0]["stop_reason"], last["citations"], last["service_tier"]) == (7, ["c"], "default")
    final = accumulated(stream(PLAIN, *said))
    assert (final.model, final.system_fingerprint) == ("m-2026", "fp")
    assert final.choices[0].message.audio.model_dump() == joined
    whole = folded(*said)
    assert (whole["id"], whole["model"], whole["citations"]) == (ID, "m-2026", ["c"])
    assert whole["choices"][0]["message"]["audio"] == joined
    assert whole["choices"][0]["stop_reason"] == 7


def test_parts_beside_a_text_come_behind_it() -> None:
    picture = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    said: Log = [("content", {"content": "see", "extra": {"choices.0.delta.content": picture}}), done()]
    assert [each["choices"][0]["delta"].get("content") for each in chunks(stream(PLAIN, *said))] == [
        *("", "see", picture),
        None,
    ]


def test_an_answer_without_a_word_has_its_role_and_its_end() -> None:
    found = chunks(stream(PLAIN, done(finish_reason="content_filter")))
    assert [each["choices"] for each in found] == [[ROLE], [choice(reason="content_filter")]]


ENDS = [
    ("failed", {"error": {"code": "model_cut", "message": "m", "retryable": True}}, "server_error", "model_cut", "m"),
    ("cancelled", {"by": "client"}, "invalid_request_error", "cancelled", "The job was cancelled."),
]


@pytest.mark.parametrize(("kind", "fields", "type_", "code", "message"), ENDS)
def test_another_end_is_an_error_chunk(kind: str, fields: dict[str, Any], type_: str, code: str, message: str) -> None:
    *_, last = chunks(stream(PLAIN, ("content", {"content": "a"}), (kind, fields)))
    assert last == {"error": {"message": message, "type": type_, "param": None, "code": code}}


def test_equal_parameters_share_bytes_and_a_copy_goes_its_own_way() -> None:
    """The fan-out keys bytes by the object and copies its state."""
    shared = openai_chat(ChatParameters(ID, CREATED, MODEL))
    assert openai_chat(ChatParameters(ID, CREATED, MODEL)) is shared
    assert openai_chat(ChatParameters(ID, CREATED, MODEL, include_usage=True)) is not shared
    text = Event(3, "content", b'{"content":"a"}')
    copied = deepcopy(shared)
    assert copied.encode(text).count(b"data:") == 2
    assert deepcopy(copied).encode(text).count(b"data:") == 1
    assert deepcopy(shared).encode(text).count(b"data:") == 2


class Client:
    """One client behind its cut."""

    def __init__(self) -> None:
        self.answers = 0
        self.frames = b""
        self.ended = False
        self._cut = OneAnswer("abcdefghijklmnop", "/v1/jobs/abcdefghijklmnop/events", self._begins)

    def _begins(self) -> None:
        self.answers += 1

    def get(self, frames: bytes) -> None:
        assert not self.ended
        found, self.ended = self._cut.cut(frames)
        self.frames += found


RESTARTED: tuple[str, dict[str, Any]] = ("restarted", {"attempt": 2, "reason": "worker_lost"})
TWO_ANSWERS: Log = [
    ("content", {"content": 'one data: {"restarted":'}),
    RESTARTED,
    ("content", {"content": "two"}),
    done(),
]


def test_a_client_that_has_heard_nothing_gets_the_new_answer_alone() -> None:
    client = Client()
    client.get(b": still here\n\n")
    client.get(stream(PLAIN, *TWO_ANSWERS))
    assert accumulated(client.frames.removeprefix(b": still here\n\n")).choices[0].message.content == "two"
    assert (client.ended, client.answers) == (False, 1)
    assert folded(*TWO_ANSWERS)["choices"][0]["message"]["content"] == "two"


def test_a_client_that_has_heard_some_gets_an_error_that_names_the_job() -> None:
    client = Client()
    frames = [frame for frame in frames_of(PLAIN, events(*TWO_ANSWERS)) if frame]
    client.get(frames[0])
    client.get(b"".join(frames[1:]))
    assert client.ended
    *_, last = chunks(client.frames)
    assert last["error"] == {
        "message": "Job abcdefghijklmnop begins again, and the text so far is void. It goes on at "
        "/v1/jobs/abcdefghijklmnop/events.",
        "type": "server_error",
        "param": None,
        "code": "restarted",
        "job_id": "abcdefghijklmnop",
        "events": "/v1/jobs/abcdefghijklmnop/events",
    }
    assert b"two" not in client.frames
