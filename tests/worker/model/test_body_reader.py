"""A body is read completely, in order, however it is cut, and no faster than its reader asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

import aiohttp
import pytest

from readalong.core.errors import ModelError
from readalong.worker.model.openai.body_reader import sse_pieces
from readalong.worker.model.openai.transport import body_of
from tests.support.waiting import WITHIN, until
from tests.worker.raw import raw_server, response_of

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def pieces_of(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    return sse_pieces(body_of(response), response.status, response.headers["content-type"])


async def read(response: aiohttp.ClientResponse, size: int) -> bytes:
    """Returns at least `size` bytes of the body, without waiting for more."""
    got = bytearray()
    async with asyncio.timeout(WITHIN), aclosing(pieces_of(response)) as pieces:
        while len(got) < size:
            got += await anext(pieces)
    return bytes(got)


@pytest.mark.parametrize(
    "pieces",
    [
        [b":"] + [b"x"] * 20_000,
        [b":" + b"x" * 2_000_000],
        [b":"] + [b"%d," % number * (1 + number % 50) for number in range(20_000)],
        [b": first\n\n"] + [b"data: x\n\n"] * 20_000,
    ],
    ids=["many tiny chunks", "one large chunk", "chunks of all sizes", "an answer at once"],
)
async def test_what_has_come_is_read_at_once_while_the_model_is_silent(pieces: list[bytes]) -> None:
    """The reader resumes a connection that aiohttp has paused, by bytes and by chunks."""
    body = b"".join(pieces)
    async with raw_server(HEAD + chunked(*pieces), keep_open=True) as server, response_of(server.url) as response:
        assert await read(response, len(body)) == body


async def test_no_piece_is_longer_than_one_may_be_read_without_others_waiting() -> None:
    body = b":" + b"x" * 1_000_000
    async with raw_server(HEAD + chunked(body) + b"0\r\n\r\n") as server, response_of(server.url) as response:
        sizes = [len(piece) async for piece in pieces_of(response)]
    assert (sum(sizes), max(sizes) <= 65_536) == (len(body), True)


async def test_a_body_that_is_not_read_is_not_received_to_its_end() -> None:
    """Otherwise a worker that waits for Redis would fill its memory."""
    sent, total, piece = 0, 64, b":" + b"x" * 1_000_000
    transports: list[asyncio.WriteTransport] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        transports.append(writer.transport)
        for _ in range(total):
            writer.write(chunked(piece))
            await writer.drain()
            sent += 1
        writer.write(b"0\r\n\r\n")
        writer.close()

    def is_stuck() -> bool:
        return sent > 0 and transports[0].get_write_buffer_size() > 0

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
    async with listener, response_of(url) as response, aclosing(pieces_of(response)) as pieces:
        size = len(await anext(pieces))
        await until(is_stuck)
        for _ in range(20):
            await asyncio.sleep(0)
        assert (is_stuck(), sent < total) == (True, True)
        async for part in pieces:
            size += len(part)
    assert size == total * len(piece)


async def test_what_came_before_a_break_is_given_first(caplog: pytest.LogCaptureFixture) -> None:
    """Only the log names the library's exception."""
    caplog.set_level(logging.INFO)
    got: list[bytes] = []

    async def collect(response: aiohttp.ClientResponse) -> None:
        async for piece in pieces_of(response):
            got.append(piece)

    async with raw_server(HEAD + chunked(b": one", b"two")) as server, response_of(server.url) as response:
        with pytest.raises(ModelError, match=r"^The model closed the stream early\.$") as caught:
            await collect(response)
    assert (b"".join(got), caught.value.code) == (b": onetwo", "model_cut")
    assert "TransferEncodingError" in caplog.text
