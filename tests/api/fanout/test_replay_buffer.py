"""The replay buffer: a watcher at any position gets what follows, once and in order, at a bounded cost."""

from __future__ import annotations

import tracemalloc

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readalong.api.fanout.batch import Batch
from readalong.api.fanout.replay_buffer import ReplayBuffer
from readalong.api.fanout.text_runs import TextRuns
from readalong.api.wire.chat_stream import chat_stream
from readalong.api.wire.format import Format
from readalong.api.wire.native import native
from readalong.core.events import Event, NewEvent, merge
from readalong.core.sse import Decoder, Message
from tests.api.helpers import number, text

#: About what one write holds.
WRITE = 65_536


def content(seq: int, pad: int = 0, **more: object) -> Event:
    return Event(seq, "content", NewEvent("content", {"content": f"{seq} " + "x" * pad, **more}).encode())


def read(frames: bytes) -> list[Message]:
    return Decoder().feed(frames)


def filled(count: int, max_bytes: int = 1 << 20, pad: int = 0) -> ReplayBuffer:
    window = ReplayBuffer(0, max_bytes)
    for seq in range(1, count + 1):
        window.add(content(seq, pad))
    return window


def test_the_frames_of_a_few_events_are_the_frames_of_each() -> None:
    window = filled(3)
    assert window.batch(native, 0) == Batch(b"".join(native.encode(content(n)) for n in (1, 2, 3)), 3, False)
    assert window.batch(native, 2) == Batch(native.encode(content(3)), 3, False)


def test_an_event_that_is_no_json_does_not_hide_what_came_before_it() -> None:
    """A person may have changed the log by hand."""
    runs = TextRuns(0)
    runs.extend([content(1), content(2)])
    with pytest.raises(ValueError, match="unexpected"):
        runs.extend([content(3), Event(4, "content", b"{broken"), content(5)])
    assert runs.newest == 3
    batch = runs.batch(native, 0)
    assert (text(read(batch.frames)), batch.position) == ("1 2 3 ", 3)


def test_many_events_come_merged_under_the_number_of_the_last() -> None:
    window = filled(100)
    batch = window.batch(native, 0)
    assert batch is not None
    (message,) = read(batch.frames)
    assert number(message) == batch.position == 100
    assert text([message]) == "".join(f"{n} " for n in range(1, 101))


@pytest.mark.parametrize("seq", [0, 1, 3, 5, 99])
def test_an_event_out_of_turn_is_refused(seq: int) -> None:
    """A hole in the window would be a hole for every watcher."""
    window = filled(3)
    with pytest.raises(ValueError, match=f"event {seq} does not follow 3"):
        window.add(content(seq))
    assert (window.oldest, window.newest) == (0, 3)


def test_a_terminal_event_marks_the_window_and_its_batch() -> None:
    window = filled(2)
    window.add(Event(3, "done", b"{}"))
    assert window.ended
    batch = window.batch(native, 1)
    assert batch is not None
    assert (batch.position, batch.last) == (3, True)


def test_a_position_that_is_not_kept_any_more_has_no_batch() -> None:
    """None, never a batch with a hole: the log has what follows."""
    window = filled(200, max_bytes=4096, pad=50)
    assert window.oldest > 0
    assert window.batch(native, window.oldest - 1) is None
    assert window.batch(native, 0) is None
    kept = window.batch(native, window.oldest)
    assert kept is not None
    assert read(kept.frames)


def test_one_event_larger_than_the_window_is_kept_and_sent() -> None:
    window = filled(3, max_bytes=4096, pad=100_000)
    assert (window.oldest, window.newest) == (2, 3)
    batch = window.batch(native, 2)
    assert batch is not None
    assert batch.position == 3


def test_a_write_holds_about_as_much_as_its_measure() -> None:
    """A client that stops reading costs one write, not the rest of the log."""
    for window in (filled(1000, max_bytes=1 << 22, pad=1000), filled(16, max_bytes=1 << 22, pad=10_000)):
        batch = window.batch(native, 0)
        assert batch is not None
        assert WRITE * 3 // 4 < len(batch.frames) < WRITE + 11_000
        assert batch.position < window.newest


def test_a_long_history_comes_in_writes_of_one_event_each() -> None:
    window = filled(20_000)
    position, writes = 0, 0
    while position < 20_000:
        batch = window.batch(native, position)
        assert batch is not None
        (message,) = read(batch.frames)
        assert text([message]) == "".join(f"{n} " for n in range(position + 1, batch.position + 1))
        position, writes = batch.position, writes + 1
    assert writes <= 3  # 109 KB


@pytest.mark.parametrize(
    "kind",
    [
        "words",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("tool calls", "log probabilities", "other scripts")),
    ],
)
def test_the_memory_of_a_window_is_what_it_says_and_bounded_however_long_the_stream(kind: str) -> None:
    """Events, not only their data: a token's event costs many times its text."""

    def event(seq: int) -> Event:
        match kind:
            case "words":
                return content(seq)
            case "other scripts":
                return Event(seq, "content", NewEvent("content", {"content": "🦉🦉🦉"}).encode())
            case "tool calls":
                return Event(seq, "tool_call_delta", NewEvent("tool_call_delta", {"arguments": f"{seq}"}).encode())
        return content(seq, logprobs=[seq])

    window = ReplayBuffer(0, 200_000)
    tracemalloc.start()
    try:
        for seq in range(1, 30_001):
            new = event(seq)
            # As it comes from Redis: orjson leaves the room behind its bytes unused but taken.
            window.add(new._replace(data=bytes(bytearray(new.data))))
            if seq % 10_000 == 0:
                window.batch(native, window.oldest)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert window.oldest > 0
    assert window.cost <= 200_000
    assert kept < 200_000 + 4 * WRITE, "the events, and a batch or two"


def test_a_stream_without_a_watcher_behind_is_kept_small_too() -> None:
    """Its events are parsed some hundred at a time: all at once, when the room is used up, would delay all streams."""
    assert filled(5000, max_bytes=1 << 22).cost < 5000 * 60


def test_a_run_that_goes_on_for_hours_is_dropped_from_its_beginning() -> None:
    window = filled(100_000, max_bytes=65_536)
    assert 0 < window.oldest < 100_000 - 3000, "most of the room is used"
    batch = window.batch(native, window.oldest)
    assert batch is not None
    assert text(read(batch.frames)).startswith(f"{window.oldest + 1} ")


def test_a_merged_event_is_taken_apart_at_any_position() -> None:
    events = [Event(1, "queued", b"{}"), *(content(n) for n in range(2, 500)), Event(500, "done", b"{}")]
    window = ReplayBuffer(0, 1 << 20)
    for event in merge(events):
        window.add(event)
    for after in (0, 1, 2, 250, 480, 490, 498, 499):
        batch = window.batch(native, after)
        assert batch is not None
        assert (batch.position, batch.last) == (500, True)
        messages = read(batch.frames)
        assert text(messages) == "".join(f"{n} " for n in range(max(2, after + 1), 500))
        assert len(messages) <= 3


def test_what_comes_live_after_a_merged_event_comes_as_it_is() -> None:
    """Byte for byte: it has not been parsed."""
    window = ReplayBuffer(0, 1 << 20)
    (merged,) = merge(content(n) for n in range(1, 100))
    window.add(merged)
    odd = Event(100, "content", b'{"content" : "spaced"}')
    window.add(odd)
    batch = window.batch(native, 99)
    assert batch is not None
    assert batch.frames == native.encode(odd)
    before = window.batch(native, 98)
    assert before is not None
    assert text(read(before.frames)) == "99 spaced"


kinds = st.sampled_from(("content", "content", "reasoning", "choice", "logprobs", "tool_call", "restarted"))
wires: st.SearchStrategy[Format] = st.sampled_from((native, chat_stream))


@settings(max_examples=150, deadline=None)
@given(
    after=st.integers(0, 50),
    max_bytes=st.integers(100, 6000),
    wire=wires,
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("add"), kinds, st.integers(0, 900)),
            st.tuples(st.sampled_from(("burst", "load")), kinds, st.integers(1, 60)),
            st.tuples(st.just("read"), st.just(""), st.integers(0, 3)),
        ),
        max_size=60,
    ),
)
def test_any_watcher_gets_every_event_after_its_position_once(
    after: int, max_bytes: int, wire: Format, steps: list[tuple[str, str, int]]
) -> None:
    """Four watchers read at any time; what the window dropped they take from the whole log, like a feed's."""
    window = ReplayBuffer(after, max_bytes)
    log: list[Event] = []
    positions = [after] * 4
    seen: list[list[Message]] = [[] for _ in positions]

    def advance(place: int) -> None:
        while positions[place] < window.newest:
            batch = window.batch(wire, positions[place])
            if batch is None:
                assert positions[place] < window.oldest
                page = TextRuns(after)
                page.extend(merge(log))
                batch = page.batch(wire, positions[place])
            else:
                assert positions[place] >= window.oldest
            assert batch.position > positions[place]
            positions[place] = batch.position
            seen[place] += read(batch.frames)

    for step, kind, size in steps:
        if step == "read":
            advance(size)
            continue
        new = []
        for seq in range(window.newest + 1, window.newest + 1 + (size if step != "add" else 1)):
            pad = size if step == "add" else 5
            new.append(an_event(seq, kind, pad))
        log += new
        stored = list(merge(new)) if step == "load" else new
        for event in stored:
            window.add(event)
        assert window.cost <= max(max_bytes, 8 * max(len(event.data) for event in stored) + 3000)
    for place in range(4):
        advance(place)
        check_same_history(wire, log, seen[place])


def an_event(seq: int, kind: str, pad: int) -> Event:
    fields: dict[str, object] = {"content": f"{seq}\u2028🦉 " + "x" * pad}
    match kind:
        case "content" | "reasoning":
            return Event(seq, kind, NewEvent(kind, fields).encode())
        case "choice":
            return Event(seq, "content", NewEvent("content", {**fields, "choice": 1}).encode())
        case "logprobs":
            return Event(seq, "content", NewEvent("content", {**fields, "logprobs": [seq]}).encode())
    return Event(seq, kind, NewEvent(kind, {"attempt": seq}).encode())


def check_same_history(wire: Format, log: list[Event], messages: list[Message]) -> None:
    """The messages say what the log says, each event once and in order, whichever way it was merged."""
    if wire is native:
        numbers = [number(message) for message in messages]
        assert numbers == sorted(set(numbers))
        assert numbers[-1:] == [event.seq for event in log][-1:]
    assert joined(messages) == joined(read(b"".join(wire.encode(event) for event in log)))


def joined(messages: list[Message]) -> list[tuple[str, str]]:
    """Returns the messages with runs of text of one kind joined; all others as they are."""
    runs: list[tuple[str, str]] = []
    for message in messages:
        fields = orjson.loads(message.data)
        if isinstance(other := fields.get("choice"), dict):
            fields = {"choice": other.pop("index"), **other}  # the chat stream's way
        elif len(fields) > 1 and fields.get("content") == "":
            del fields["content"]
        kind = fields.pop("type", None) or next(name for name in fields if name != "choice")
        if kind in ("content", "reasoning") and "logprobs" not in fields:
            said = fields.get("content", fields.get(kind))
            kind += str(fields.get("choice", ""))
            if runs and runs[-1][0] == kind:
                runs[-1] = (kind, runs[-1][1] + said)
                continue
            runs.append((kind, said))
        else:
            runs.append((kind, orjson.dumps(fields).decode()))
    return runs
