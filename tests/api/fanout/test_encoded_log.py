"""The bytes of a log in one format: encoded once for all watchers at a position, and bounded."""

from __future__ import annotations

import tracemalloc

from readalong.api.fanout.batch import Batch
from readalong.api.fanout.encoded_log import LOST, EncodedLog
from readalong.api.wire.native import native
from readalong.core.events import Event, NewEvent
from readalong.core.sse import Decoder
from tests.api.fanout.sources import Source
from tests.api.helpers import number


def content(seq: int, pad: int = 0) -> Event:
    return Event(seq, "content", NewEvent("content", {"content": f"{seq} " + "x" * pad}).encode())


def filled(count: int, max_bytes: int = 1 << 20, pad: int = 0) -> Source:
    return Source([content(seq, pad) for seq in range(1, count + 1)], max_bytes)


def in_memory(encoded: EncodedLog, after: int) -> Batch:
    batch = encoded.batch(after)
    assert batch is not None
    return batch


def test_watchers_at_one_position_share_one_bytes_object() -> None:
    encoded = EncodedLog(native, filled(20))
    assert in_memory(encoded, 5).frames is in_memory(encoded, 5).frames


def test_also_bytes_larger_than_all_that_is_kept_are_shared() -> None:
    """The end of a very long job, which all its watchers want at the same moment."""
    encoded = EncodedLog(native, filled(2, max_bytes=1 << 22, pad=1_000_000))
    assert in_memory(encoded, 1).frames is in_memory(encoded, 1).frames


def test_a_large_batch_is_shared_while_a_client_takes_it_whatever_others_want_meanwhile() -> None:
    """Clients that take theirs slowly would each hold a copy."""
    source = filled(3, max_bytes=1 << 22, pad=600_000)
    encoded = EncodedLog(native, source)
    slow = in_memory(encoded, 0)
    in_memory(encoded, 1)
    in_memory(encoded, 2)
    source.window.add(content(4))
    in_memory(encoded, 3)
    assert in_memory(encoded, 0) is slow


def test_a_new_event_is_not_hidden_by_bytes_made_before_it() -> None:
    """It follows them, and a watcher that comes after the first one with it gets all in one write."""
    source = filled(3)
    encoded = EncodedLog(native, source)
    before = in_memory(encoded, 0)
    source.window.add(content(4))
    following = in_memory(encoded, in_memory(encoded, 0).position)
    messages = Decoder().feed(in_memory(encoded, 0).frames)
    assert [number(message) for message in messages] == [1, 2, 3, 4]
    assert before.frames + following.frames == in_memory(encoded, 0).frames


def test_bytes_shared_at_many_positions_stay_bounded() -> None:
    """Watchers at all positions of an ended job must not fill the memory with their batches."""
    source = filled(200, pad=5000)
    encoded = EncodedLog(native, source)
    in_memory(encoded, 0)
    tracemalloc.start()
    try:
        for _ in range(2):
            for position in range(200):
                in_memory(encoded, position)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1 << 20  # 200 writes would be 13 MB


async def test_history_is_shared_while_the_log_grows() -> None:
    """A thousand watchers that are behind would each encode their page once more for each token."""
    source = filled(3000, max_bytes=4096)
    encoded = EncodedLog(native, source)
    first = await encoded.history(0)
    source.window.add(content(3001))
    in_memory(encoded, 3000)
    assert await encoded.history(0) is first


def test_a_lost_watcher_is_told_of_the_present_attempt() -> None:
    """All are told by the same bytes, until another attempt begins."""
    source = filled(5)
    encoded = EncodedLog(native, source)
    assert in_memory(encoded, LOST) is in_memory(encoded, LOST)
    source.lost = Event(4, "restarted", b'{"attempt":2}')
    encoded.restarted()
    assert in_memory(encoded, LOST) == Batch(native.encode(source.lost), 4, False)


async def test_a_long_event_of_a_log_that_has_become_another_is_not_shared_any_more() -> None:
    """The old event may still be on its way to a slow watcher."""
    source = filled(1, pad=300_000)
    encoded = EncodedLog(native, source)
    before = await encoded.history(0)
    assert before is await encoded.history(0)
    source.events = [content(1, 300_001)]
    source.pages.clear()
    encoded.clear()
    after = await encoded.history(0)
    assert after is not None
    assert after.frames == native.encode(source.events[0])


async def test_what_was_read_of_a_log_that_has_become_another_is_void() -> None:
    """The watcher asks again; the bytes of the other log are neither sent nor kept."""
    source = filled(1)
    encoded = EncodedLog(native, source)
    source.on_read = [encoded.clear]
    assert await encoded.history(0) is None
    source.events, source.on_read = [content(1, 7)], []
    source.pages.clear()
    found = await encoded.history(0)
    assert found is not None
    assert found.frames == native.encode(content(1, 7))
