"""The wire formats, byte for byte."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.api.wire.chat_stream import OneText, chat_stream
from readalong.api.wire.format import Format
from readalong.api.wire.native import native
from readalong.core.events import TYPES, UNNUMBERED, Event, NewEvent, merge
from readalong.core.sse import Decoder
from readalong.core.states import TERMINAL
from tests.api.wire.parts import Parts, state_of

#: An event of each type, its native data, and what the chat stream makes of it.
EXAMPLES: dict[str, tuple[bytes, bytes]] = {
    "queued": (b'{"job_id":"j","model":"m","created_at":"2026-01-01T00:00:00.000Z"}', b""),
    "started": (b'{"attempt":1,"worker":{"host":"h"}}', b""),
    "content": (b'{"content":"Hi"}', b'data: {"content":"Hi"}\n\n'),
    "reasoning": (b'{"content":"Hm"}', b'data: {"content":"","reasoning":"Hm"}\n\n'),
    "refusal": (b'{"content":"No"}', b'data: {"content":"","refusal":"No"}\n\n'),
    "tool_call_delta": (b'{"index":0,"id":"c","name":"f","arguments":"{"}', b""),
    "tool_call": (
        b'{"index":0,"id":"c","name":"f","arguments":{"a":1}}',
        b'data: {"content":"","tool_call":{"index":0,"id":"c","name":"f","arguments":{"a":1}}}\n\n',
    ),
    "function_call": (
        b'{"name":"f","arguments":{}}',
        b'data: {"content":"","function_call":{"name":"f","arguments":{}}}\n\n',
    ),
    "restarted": (
        b'{"attempt":2,"reason":"worker_lost","worker":{}}',
        b'data: {"content":"","restarted":{"attempt":2,"reason":"worker_lost","worker":{}}}\n\n',
    ),
    "waiting": (b'{"for":"model","seconds":1}', b'data: {"content":"","waiting":{"for":"model","seconds":1}}\n\n'),
    "done": (b'{"finish_reason":"stop","content":"Hi","usage":null,"metrics":{}}', b"data: [DONE]\n\n"),
    "failed": (
        b'{"error":{"code":"c","message":"m","retryable":false},"content":"H","metrics":{}}',
        b'data: {"content":"","error":{"code":"c","message":"m","retryable":false}}\n\ndata: [DONE]\n\n',
    ),
    "cancelled": (
        b'{"content":"H","by":"client","metrics":{}}',
        b'data: {"content":"","cancelled":{"by":"client"}}\n\ndata: [DONE]\n\n',
    ),
}

#: What breaks clients that cut lines wherever Unicode or JavaScript sees an end of a line.
HARD_TEXTS = ("\u2028", "\u2029", "\u0085", "\n", "\r\n", "\r", "\0", "a\n\ndata: forged\n\n", "日本語 🦊", '"\\', "")


def event(kind: str, data: bytes | None = None, seq: int = 7) -> Event:
    return Event(seq, kind, EXAMPLES[kind][0] if data is None else data)


def shown_as(shown: Event) -> bytes:
    """Returns what the chat stream shows of an event."""
    return chat_stream.encode(shown) + (chat_stream.end() if shown.terminal else b"")


def test_there_is_an_example_of_each_type() -> None:
    """A new type must say how it looks on the wire."""
    assert EXAMPLES.keys() == TYPES


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_native_is_the_number_the_type_and_the_data_with_the_type_in_front(kind: str) -> None:
    """The very bytes, for each type."""
    data = EXAMPLES[kind][0]
    wanted = b'id: 7\nevent: %s\ndata: {"type":"%s",%s\n\n' % (kind.encode(), kind.encode(), data[1:])
    assert native.encode(event(kind)) == wanted


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_native_repeats_the_type_in_its_data(kind: str) -> None:
    """Clients that read only data lines manage too."""
    (message,) = Decoder().feed(native.encode(event(kind)))
    assert (message.id, message.event) == ("7", kind)
    assert orjson.loads(message.data) == {"type": kind, **orjson.loads(EXAMPLES[kind][0])}


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_the_chat_stream_shows_each_type_in_its_way(kind: str) -> None:
    """The very bytes, for each type; b"" for what existing front ends do not know."""
    assert shown_as(event(kind)) == EXAMPLES[kind][1]


@pytest.mark.parametrize("kind", ["content", "reasoning", "refusal"])
def test_the_chat_stream_shows_another_choice_as_no_text(kind: str) -> None:
    """A front end that appends `content` shows the first choice, not a mixture."""
    shown = shown_as(event(kind, b'{"content":"B","choice":1}'))
    assert shown == b'data: {"content":"","choice":{"index":1,"%s":"B"}}\n\n' % kind.encode()


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_each_line_of_the_chat_stream_has_a_text_to_append(kind: str) -> None:
    """The article's own front end appends it unasked, and would print "undefined"."""
    lines = [message.data for message in Decoder().feed(shown_as(event(kind)))]
    assert all(isinstance(orjson.loads(line)["content"], str) for line in lines if line != b"[DONE]")


def test_native_gives_no_number_to_what_is_not_in_the_log() -> None:
    data = b'{"for":"worker","since":"2026-01-01T00:00:00.000Z"}'
    wanted = b'event: waiting\ndata: {"type":"waiting","for":"worker","since":"2026-01-01T00:00:00.000Z"}\n\n'
    assert native.encode(event("waiting", data, UNNUMBERED)) == wanted


def test_the_chat_stream_shows_nothing_of_a_piece_besides_its_text() -> None:
    """Log probabilities and the model's own fields are for the native protocol."""
    shown = shown_as(event("content", b'{"content":"B","logprobs":{"x":1},"extra":{"y":2}}'))
    assert shown == b'data: {"content":"B"}\n\n'


@pytest.mark.parametrize("kind", sorted(TERMINAL))
def test_the_chat_stream_says_done_once_at_every_end(kind: str) -> None:
    """`[DONE]` is the last line, however the job ended."""
    shown = shown_as(event(kind))
    assert shown.count(b"[DONE]") == 1
    assert shown.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("wire", [native, chat_stream], ids=["native", "chat_stream"])
@pytest.mark.parametrize("text", HARD_TEXTS, ids=ascii)
def test_text_cannot_break_the_frame(wire: Format, text: str) -> None:
    """One frame stays one message, whatever the model says."""
    data = NewEvent("content", {"content": text}).encode()
    framed = wire.encode(event("content", data))
    assert framed.endswith(b"\n\n")
    assert framed.count(b"\n\n") == 1
    assert b"\r" not in framed
    (message,) = Decoder().feed(framed)
    assert orjson.loads(message.data)["content"] == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


#: `choice` is a number that says which text it belongs to.
names = st.text().filter(lambda name: name not in ("type", "choice"))


@given(text=st.text(), extra=st.dictionaries(names, json_values, max_size=3))
def test_what_goes_into_a_format_comes_out_of_a_reader(text: str, extra: dict[str, Any]) -> None:
    """Any text and any further fields survive the wire."""
    fields = {**extra, "content": text}
    data = NewEvent("content", fields).encode()
    (message,) = Decoder().feed(native.encode(event("content", data)))
    assert orjson.loads(message.data) == {"type": "content", **fields}
    (message,) = Decoder().feed(shown_as(event("content", data)))
    assert orjson.loads(message.data)["content"] == text


def frames(*events: tuple[str, str]) -> bytes:
    return b"".join(shown_as(event(kind, data.encode())) for kind, data in events)


TEXT = ("content", '{"content":"old"}')
AGAIN = ("restarted", '{"attempt":2,"reason":"worker_stopped","worker":{}}')
NEW = ("content", '{"content":"new"}')
#: Fields and texts that look like the line of a restart.
FORGED = (
    ("tool_call", '{"index":0,"arguments":{"restarted":{"content":"","restarted":{}}}}'),
    ("content", orjson.dumps({"content": 'data: {"content":"","restarted":{}}'}).decode()),
)
ERROR = {
    "code": "worker_stopped",
    "message": "Job j begins again; the text so far is void.",
    "retryable": True,
    "job_id": "j",
}
END = b'data: {"content":"","error":%s}\n\ndata: [DONE]\n\n' % orjson.dumps(ERROR)


def test_a_second_text_ends_a_stream_with_an_error_that_names_the_job() -> None:
    text = OneText("j")
    assert text.cut(frames(TEXT)) == (frames(TEXT), False)
    assert text.cut(frames(("reasoning", '{"content":"so"}'), AGAIN, NEW)) == (
        frames(("reasoning", '{"content":"so"}')) + END,
        True,
    )


def test_before_the_first_text_a_restart_is_no_end() -> None:
    """The client has nothing that is void. Frames that are void are left out."""
    text = OneText("j")
    for _ in range(2):
        assert text.cut(frames(("reasoning", '{"content":"so"}'))) == (frames(("reasoning", '{"content":"so"}')), False)
        assert text.cut(frames(AGAIN)) == (frames(AGAIN), False)
        assert text.cut(frames(("content", '{"content":""}'))) == (frames(("content", '{"content":""}')), False)
    assert text.cut(frames(TEXT, AGAIN, TEXT, AGAIN, NEW)) == (frames(AGAIN, NEW), False)
    assert text.cut(frames(AGAIN))[1]


@pytest.mark.parametrize("forged", FORGED)
def test_what_only_looks_like_a_restart_ends_no_stream(forged: tuple[str, str]) -> None:
    text = OneText("j")
    assert text.cut(frames(TEXT, forged, NEW)) == (frames(TEXT, forged, NEW), False)
    assert text.cut(frames(forged)) == (frames(forged), False)


@given(
    kinds=st.lists(st.sampled_from(("content", "reasoning", "tool_call_delta")), max_size=40), cut=st.integers(0, 40)
)
def test_a_merged_event_leaves_the_state_of_its_chunks(kinds: list[str], cut: int) -> None:
    """A format with state is brought to a position by merged events; each such format belongs in this list."""
    log = [Event(seq, kind, b'{"content":"%d "}' % seq) for seq, kind in enumerate(kinds, 1)]
    for wire in (Parts(),):
        assert state_of(wire, [*merge(log[:cut]), *log[cut:]]) == state_of(wire, log)
