"""The gauges read clocks, memory, MONITOR and streams correctly."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from mmap import mmap

import pytest
import redis

from bench.contenders.floor import posts
from bench.harness.cpu import cpu_seconds, seconds_of
from bench.harness.errors import BenchError
from bench.harness.memory import memory_kb, share_of
from bench.harness.monitor import Monitor, calls
from bench.harness.quantiles import PARTS, curve, summary
from bench.harness.stack import Stack
from bench.load.crowd import Crowd, get
from bench.load.readers import delays
from bench.load.stamps import SIZE, STAMP, stamped
from bench.load.wire import Stream
from tests.support.servers import RedisServer


def test_a_token_comes_when_its_last_byte_does() -> None:
    """The stream may be cut anywhere; the repeated text of the end does not count."""

    async def read() -> Stream:
        stream = Stream(b"")
        for piece in (b"HTTP/1.1 200 OK\r\n\r\n~90 @100 x@2", b"00 ", b"event: done\ndata: @100 @200 "):
            stream.data_received(piece)
        return stream

    stream = asyncio.run(read())
    first, second = stream.tokens()
    assert (first.sent, second.sent, stream.asked()) == (100, 200, 90)
    assert first.came < second.came == stream.time_of(b"@200 ")
    assert stream.count(b"@") == 2
    with pytest.raises(BenchError, match="no b'event: started'"):
        stream.time_of(b"event: started")


def test_a_delay_ends_with_the_read_that_brought_the_last_byte_of_a_stamp() -> None:
    """A stamp may be cut in two."""
    seen = [(1_000_100, b"head @100 "), (3_000_000, b"@2"), (5_000_200, b"00 ..@300 ")]
    assert delays(seen) == [1.0, 5.0, pytest.approx(4.9999)]


def test_an_event_has_one_stamp_and_the_same_size_for_everybody() -> None:
    """Readers count its one `@`."""
    text = stamped()
    assert len(text) == SIZE
    assert text.count(b"@") == 1
    found = STAMP.match(text)
    assert found is not None
    assert 0 <= time.monotonic_ns() - int(found[1]) < 10**10


def test_the_crowd_counts_what_is_missing_and_what_is_too_much() -> None:
    """A loss that the benchmark misses would make a figure for less work."""

    async def watch() -> list[tuple[int, int]]:
        with Stack.start() as stack, stack.child("floor") as port:
            async with Crowd.start(stack) as crowd:
                while True:
                    try:
                        reader, writer = await asyncio.open_connection("127.0.0.1", port)
                        break
                    except ConnectionRefusedError:
                        await asyncio.sleep(0.02)
                await crowd.open(port, [get("/")] * 3, sample=1)
                found = []
                for expected, within in ((2, 20), (3, 0.3), (1, 20)):
                    await crowd.expect(expected)
                    writer.write(b"POST / HTTP/1.1\r\ncontent-length: 8\r\n\r\n@1 @2 ..")
                    await reader.readuntil(b"\r\n\r\n")
                    arrival = await crowd.wait(within)
                    found.append((arrival.lost, arrival.more))
                assert len(await crowd.delays()) == 2 * 3
                writer.close()
                return found

    assert asyncio.run(watch()) == [(0, 0), (3, 0), (0, 3)]


def test_a_crowd_that_is_refused_is_an_error() -> None:
    """Refusals are not measured."""

    async def watch() -> None:
        with Stack.start() as stack, stack.child("naive") as port:
            stack.wait("naive", _listens)
            async with Crowd.start(stack) as crowd:
                await crowd.open(port, [get("/nothing")])

    with pytest.raises(BenchError, match=r"answered b'HTTP/1\.1 404"):
        asyncio.run(watch())


def _listens(port: int) -> bool:
    with subprocess.Popen([sys.executable, "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}))"],
                          stderr=subprocess.DEVNULL) as process:  # fmt: skip
        return process.wait() == 0


def test_a_summary_is_by_nearest_rank() -> None:
    """The p99 of a hundred values is the 99th."""
    assert summary([float(n) for n in range(100, 0, -1)]) == {"n": 100, "p50": 50, "p95": 95, "p99": 99, "max": 100}
    assert summary([3.0])["p99"] == 3.0
    with pytest.raises(ValueError, match="nothing was measured"):
        summary([])


def test_a_curve_has_a_value_for_each_part() -> None:
    """The values rise from the second hundredth to the thousandth."""
    assert dict(zip(PARTS, curve([float(n) for n in range(1000, 0, -1)]), strict=True)) == {
        part: round(part * 1000) for part in PARTS
    }


def test_the_cpu_time_of_another_process_is_what_it_says_itself() -> None:
    """The child uses CPU time, prints its own account of it, and waits."""
    code = "import time\nwhile time.process_time() < 0.1: pass\nprint(time.process_time(), flush=True)\ninput()"
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = float(process.stdout.readline())
        assert said - 0.02 <= cpu_seconds(process.pid) <= said + 1
        process.communicate("\n")
    with pytest.raises(ProcessLookupError):
        cpu_seconds(process.pid)


@pytest.mark.parametrize(("shown", "seconds"), [("0:01.25", 1.25), (" 01:02:03\n", 3723.0), ("2-00:00:01", 172801.0)])
def test_what_ps_shows_is_read_in_all_its_forms(shown: str, seconds: float) -> None:
    """macOS and BSD have no clock of another process."""
    assert seconds_of(shown) == seconds


def test_memory_grows_by_what_a_process_takes() -> None:
    """20 MB that it has written to; a shared page counts by its share."""
    before = memory_kb(os.getpid())
    with mmap(-1, 20_000_000) as taken:  # the heap may have had room
        taken.write(b"x" * 20_000_000)
        assert 15_000 < memory_kb(os.getpid()) - before < 45_000
    assert share_of("00400000-7ffd [rollup]\nRss:  900 kB\nPss:    321 kB\nPss_Dirty: 5 kB\n") == 321
    with pytest.raises(ValueError, match="no Pss"):
        share_of("Rss: 900 kB\n")


def test_a_scripts_own_commands_are_no_clients() -> None:
    """One EVAL is one command, with all the commands inside; commands outside of the measurement do not count."""
    with RedisServer.start() as server, redis.Redis(port=server.port) as client:
        client.set("before", 1)
        with Monitor(server.port) as monitor:
            client.eval("for i = 1, 5 do redis.call('SET', 'k', i) end", 0)
            client.get("k")
            client.ping()
        client.set("after", 1)
    assert monitor.counts == Counter(eval=1, get=1)


def test_a_value_that_looks_like_a_command_is_none() -> None:
    """MONITOR escapes the ends of lines in values."""
    said = b'+OK\r\n+1.5 [0 127.0.0.1:5] "XADD" "+1.5 [0 127.0.0.1:5] \\"GET\\"\\r\\n"\r\n+1.6 [0 lua] "GET" "k"\r\n'
    assert calls(said) == Counter(xadd=1)


def test_pipelined_posts_are_read_one_by_one() -> None:
    """An incomplete line waits for its rest."""
    whole = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab"
    assert posts(whole + whole[:-1]) == ([b"ab"], whole[:-1])
    assert posts(b"GET / HTTP/1.1\r\n\r\n") == ([], b"GET / HTTP/1.1\r\n\r\n")
