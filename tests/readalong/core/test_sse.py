"""Server-sent events as exact bytes, however the stream is split."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from readalong.core.sse import HEARTBEAT, Decoder, Message, frame

WHOLE = [
    Message("content", b'{"content":"a\xe2\x80\xa8b"}', "7"),
    Message("message", b"two\nlines", "7"),
    Message("done", b"{}", "8"),
]
STREAM = (
    b": hello\n"
    b'id: 7\nevent: content\ndata: {"content":"a\xe2\x80\xa8b"}\n\n'
    b"data: two\ndata: lines\n\n" + HEARTBEAT + b"retry: 250\nid:8\nevent:done\ndata:{}\n\n"
)


def read(stream: bytes) -> list[Message]:
    return Decoder().feed(stream)


def read_in_pieces(stream: bytes, cuts: list[int]) -> list[Message]:
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    decoder = Decoder()
    messages: list[Message] = []
    for start, stop in pairwise(places):
        messages += decoder.feed(stream[start:stop])
    return messages


def test_a_frame_has_exactly_these_bytes() -> None:
    assert frame(b"{}") == b"data: {}\n\n"
    assert frame(b"{}", event="done") == b"event: done\ndata: {}\n\n"
    assert frame(b"{}", event="done", id="9-a1") == b"id: 9-a1\nevent: done\ndata: {}\n\n"
    assert frame(b"[DONE]", id="0") == b"id: 0\ndata: [DONE]\n\n"


json_lines = st.recursive(
    st.none() | st.text() | st.integers(-(2**53), 2**53), lambda inner: st.dictionaries(st.text(), inner), max_leaves=6
).map(orjson.dumps)
names = st.none() | st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
ids = st.none() | st.integers(0, 10**15).map(str)


@given(st.lists(st.tuples(json_lines, names, ids), max_size=6), st.lists(st.integers(0)))
def test_frames_come_back_as_they_went(frames: list[tuple[bytes, str | None, str | None]], cuts: list[int]) -> None:
    stream = b"".join(frame(data, event=event, id=number) for data, event, number in frames)
    expected = []
    last = ""
    for data, event, number in frames:
        last = last if number is None else number
        expected.append(Message(event or "message", data, last))
    assert read_in_pieces(stream, cuts) == expected


@given(st.sampled_from([b"\n", b"\r", b"\r\n"]), st.booleans(), st.lists(st.integers(0, 10_000), max_size=12))
@example(b"\r\n", True, list(range(400)))
@example(b"\r", False, list(range(400)))
def test_line_ends_and_cuts_make_no_difference(line_end: bytes, bom: bool, cuts: list[int]) -> None:
    stream = (b"\xef\xbb\xbf" if bom else b"") + STREAM.replace(b"\n", line_end)
    assert read_in_pieces(stream, cuts) == WHOLE


raw = st.lists(
    st.sampled_from(
        [b"data", b"id", b"event", b"retry", b":", b" ", b"x", b"\n", b"\r", b"\0", b"\xef\xbb\xbf", b"\xff"]
    )
).map(b"".join)


@given(raw, st.lists(st.integers(0, 1_000), max_size=10))
@example(b": a\rdata: b\n\n", [])
def test_any_bytes_in_any_pieces_give_the_same_messages(stream: bytes, cuts: list[int]) -> None:
    assert read_in_pieces(stream, cuts) == read(stream)
    assert read_in_pieces(stream, list(range(len(stream)))) == read(stream)


@given(raw)
def test_the_decoder_agrees_with_the_specification_read_word_by_word(stream: bytes) -> None:
    assert read(stream) == by_the_book(stream)


def by_the_book(stream: bytes) -> list[Message]:
    """Implements section 9.2.6 of WHATWG HTML, slowly: lines, then fields, then dispatch."""
    stream = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    messages: list[Message] = []
    data, event, last = b"", "", ""
    for line in stream.split(b"\n")[:-1]:
        if line == b"":
            if data != b"":
                messages.append(Message(event or "message", data[:-1], last))
            data, event = b"", ""
        elif line.startswith(b":"):
            continue
        else:
            name, _, value = line.partition(b":")
            value = value[1:] if value.startswith(b" ") else value
            if name == b"event":
                event = value.decode(errors="replace")
            elif name == b"data":
                data += value + b"\n"
            elif name == b"id" and b"\0" not in value:
                last = value.decode(errors="replace")
    return messages


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_a_message_is_given_out_with_its_last_byte_and_not_with_the_next(line_end: bytes) -> None:
    decoder = Decoder()
    assert decoder.feed(b"data: a" + line_end + line_end) == [Message("message", b"a", "")]
    assert decoder.feed(b"data: b" + line_end + line_end) == [Message("message", b"b", "")]


def test_a_heartbeat_is_no_message() -> None:
    assert read(HEARTBEAT * 3) == []


def test_data_without_a_space_after_the_colon_is_whole_and_only_one_space_is_taken() -> None:
    assert [m.data for m in read(b"data:a\n\ndata: b\n\ndata:  c\n\n")] == [b"a", b"b", b" c"]


def test_data_without_a_colon_is_an_empty_line_of_data() -> None:
    assert [m.data for m in read(b"data\n\ndata\ndata\n\ndata:\n\n")] == [b"", b"\n", b""]


def test_an_event_without_data_is_not_given_out_and_its_name_is_forgotten() -> None:
    assert read(b"event: done\n\ndata: a\n\n") == [Message("message", b"a", "")]


def test_an_id_lasts_until_the_next_also_from_an_event_without_data() -> None:
    assert [m.id for m in read(b"id: 3\n\ndata: a\n\nid\ndata: b\n\n")] == ["3", ""]


def test_an_id_with_a_nul_in_it_is_ignored() -> None:
    assert [m.id for m in read(b"id: 3\ndata: a\n\nid: 4\x005\ndata: b\n\n")] == ["3", "3"]


def test_line_separators_of_unicode_are_text() -> None:
    text = "a\u2028b\u2029c\u0085d\x0b\x0c\x1c"
    assert read(b"data: " + text.encode() + b"\n\n")[0].data.decode() == text


def test_only_the_first_byte_order_mark_is_taken_away() -> None:
    mark = b"\xef\xbb\xbf"
    assert [m.data for m in read(mark + b"data: a\n\n" + b"data: " + mark + b"b\n\n")] == [b"a", mark + b"b"]
    assert read(mark + mark + b"data: a\n\n") == []


def test_what_the_stream_did_not_finish_is_not_given_out() -> None:
    assert read(b"data: a\n") == []


def test_the_wait_that_the_server_asks_for_is_kept_if_it_is_a_number() -> None:
    decoder = Decoder()
    decoder.feed(b"retry: soon\n\n")
    assert decoder.retry is None
    decoder.feed(b"retry: 250\n\nretry: -1\n\n")
    assert decoder.retry == 250


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    decoder = Decoder(max_line=100)
    decoder.feed(b"data: " + b"x" * 94)
    with pytest.raises(ValueError, match="more than 100 bytes in a line"):
        decoder.feed(b"x")
