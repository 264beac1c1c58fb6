"""The bytes of a log in a format with state: each event is encoded once, and what is kept is bounded."""

from __future__ import annotations

import pytest

from readalong.api.fanout.encoded_log import LOST
from readalong.api.fanout.frame_page import FramePage
from readalong.api.fanout.replay_buffer import ReplayBuffer
from readalong.api.fanout.stateful_log import StatefulLog
from readalong.core.events import PAGE_SIZE, Event
from tests.api.fanout.sources import Source
from tests.api.wire.parts import Parts, frames_of


class CountedLog(Source):
    """A long log, and how many of its events were encoded."""

    def __init__(self, count: int, monkeypatch: pytest.MonkeyPatch, max_bytes: int = 1 << 20) -> None:
        super().__init__([Event(n, "tool_call_delta", b'{"content":"%d"}' % n) for n in range(1, count + 1)], max_bytes)
        self.encoded = 0
        really = Parts.encode

        def encode(parts: Parts, event: Event) -> bytes:
            self.encoded += 1
            return really(parts, event)

        monkeypatch.setattr(Parts, "encode", encode)


async def test_a_watcher_that_catches_up_encodes_each_event_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once in a replay to its position, once for its bytes; page after page, and never from the start again."""
    pages = 6
    log = CountedLog(pages * PAGE_SIZE + 10, monkeypatch)
    wire = Parts()
    encoded = StatefulLog(wire, log, 100_000)
    position = 4 * PAGE_SIZE
    seen = b""
    while position < len(log.events):
        batch = encoded.batch(position) or await encoded.history(position)
        assert batch is not None
        seen, position = seen + batch.frames, batch.position
    assert log.encoded == len(log.events)
    assert seen == b"".join(frames_of(wire, log.events)[4 * PAGE_SIZE :])
    log.encoded = 0
    await encoded.history(5 * PAGE_SIZE)
    await encoded.history(2 * PAGE_SIZE)
    assert log.encoded <= 2 * PAGE_SIZE


async def test_a_live_event_is_encoded_once_for_all_watchers_at_a_position(monkeypatch: pytest.MonkeyPatch) -> None:
    log = CountedLog(20, monkeypatch)
    encoded = StatefulLog(Parts(), log, 100_000)
    await encoded.history(19)
    log.encoded = 0
    log.window.add(Event(21, "content", b'{"content":"new"}'))
    first, second, behind = (encoded.batch(position) for position in (20, 20, 12))
    assert first is not None
    assert behind is not None
    assert first is second
    assert behind.frames.endswith(first.frames)
    assert log.encoded == 1


async def test_all_pages_and_the_states_of_a_log_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of events and pages of frames count together."""
    log = CountedLog(80 * PAGE_SIZE, monkeypatch, 400_000)
    encoded = StatefulLog(Parts(), log, 400_000)
    for position in (79 * PAGE_SIZE, *range(0, 79 * PAGE_SIZE, 8 * PAGE_SIZE)):
        await encoded.history(position)
    kept = [page.result() for page in log.pages._pages.values()]
    assert any(isinstance(page, FramePage) for page in kept)
    assert sum(page.cost for page in kept) <= 400_000
    assert len(encoded._states) <= 64


async def test_an_event_that_a_format_cannot_show_leaves_no_state_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that broke halfway would give all later watchers other bytes."""
    log = CountedLog(20, monkeypatch)
    wire = Parts()
    encoded = StatefulLog(wire, log, 100_000)
    await encoded.history(19)
    log.window.add(Event(21, "tool_call_delta", b"[]"))
    with pytest.raises(AttributeError):
        encoded.batch(20)
    log.events.append(Event(21, "tool_call_delta", b'{"content":"mended"}'))
    log.window = ReplayBuffer(20, 1 << 20)
    log.window.add(log.events[-1])
    found = encoded.batch(20) or await encoded.history(20)
    assert found is not None
    assert found.frames == frames_of(wire, log.events)[20]


async def test_a_lost_watcher_is_not_told_of_an_attempt_that_another_replaces_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would go on behind an event that is void."""
    log = CountedLog(20, monkeypatch)
    encoded = StatefulLog(Parts(), log, 100_000)

    def restart() -> None:
        log.lost = Event(7, "restarted", b'{"attempt":2}')
        encoded.restarted()

    log.on_read = [restart]
    assert await encoded.history(LOST) is None
    log.on_read = []
    told = await encoded.history(LOST)
    assert told is not None
    assert told.position == 7
    assert encoded.batch(LOST) is told
