"""A body is read whole, in order, and no faster than it is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import httpx2
import pytest

from tests.support.waiting import WITHIN, until
from tests.worker.raw import raw_server
from worker.body import Body

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


@asynccontextmanager
async def answered(answer: bytes, *, keep_open: bool = False) -> AsyncIterator[Body]:
    """The body of a server's answer, as far as its head."""
    async with (
        raw_server(answer, keep_open=keep_open) as server,
        aiohttp.ClientSession() as session,
        session.post(server.url, data=b"x") as response,
    ):
        yield Body.of(response.content)


async def read(body: Body) -> bytes:
    async with asyncio.timeout(WITHIN):
        return b"".join([piece async for piece in body.pieces()])


async def test_a_body_is_read_whole_however_it_is_cut() -> None:
    pieces = [b"%d," % number * (1 + number % 50) for number in range(20_000)]
    async with answered(HEAD + chunked(*pieces) + b"0\r\n\r\n") as body:
        assert await read(body) == b"".join(pieces)


async def test_no_piece_is_longer_than_one_may_be_read_without_others_waiting() -> None:
    async with answered(HEAD + chunked(b"x" * 1_000_000) + b"0\r\n\r\n") as body:
        sizes = [len(piece) async for piece in body.pieces()]
    assert (sum(sizes), max(sizes) <= 65_536) == (1_000_000, True)


async def test_a_body_that_nobody_reads_is_not_received_to_its_end() -> None:
    """Or a worker that waits for Redis would fill its memory."""
    pieces = [b"x" * 1000] * 4000
    async with answered(HEAD + chunked(*pieces) + b"0\r\n\r\n") as body:
        await until(lambda: body._protocol._reading_paused)
        assert 65_536 < sum(map(len, body._buffer)) < 2 * 65_536
        assert await read(body) == b"".join(pieces)


async def test_what_came_before_a_break_is_given_first() -> None:
    got: list[bytes] = []

    async def collect(body: Body) -> None:
        async for piece in body.pieces():
            got.append(piece)

    async with answered(HEAD + chunked(b"one", b"two")) as body:
        with pytest.raises(httpx2.ReadError):
            await collect(body)
    assert b"".join(got) == b"onetwo"
