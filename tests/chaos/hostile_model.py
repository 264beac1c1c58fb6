"""`python -m tests.chaos.hostile_model [--port PORT] --journal FILE`: the demo model, and models named `hostile-…`.

A hostile model answers with what no model should (docs/security.md, "A model server").
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import orjson
import uvloop
from aiohttp import web

from readalong.testing.chunks import Frame
from readalong.testing.demo_model import DemoModel
from readalong.testing.journal import Journal
from readalong.testing.server import serve
from readalong.testing.stats import State, Stream

PREFIX: Final = "hostile-"
_SSE: Final = {"Content-Type": "text/event-stream"}
_RAW: Final = "raw"
#: Each thing padded to this many bytes is larger than it need be, and still one of many.
_LONG: Final = 4_000
#: Pieces of a text, far more than allowed. Everything sent is recorded, though buffers hold most of it.
_MOST_PIECES: Final = 700
#: Deeper than an event may be, and than a parser goes.
_DEEP: Final = (400, 100_000)
_PACKED_AT_ONCE: Final = 32


@dataclass(frozen=True)
class Attack:
    """`body`: pieces sent for ever, one each `pause` seconds; the text of its chunks is recorded.

    `says`: it starts like an honest answer, if the request asks for that.
    """

    body: Callable[[str, int], Iterator[bytes]]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: _SSE)
    pause: float = 0.0
    says: bool = True


def chunk(delta: Mapping[str, Any], more: Mapping[str, Any] | None = None, *, index: int = 0) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": None}
    return (
        b"data: "
        + orjson.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice], **(more or {})})
        + b"\n\n"
    )


def word(tag: str, call: int, number: int) -> str:
    """Returns a word that no other call sends."""
    return f"<{tag}.{call}.{number}> "


def _same(piece: bytes) -> Callable[[str, int], Iterator[bytes]]:
    def body(_: str, __: int) -> Iterator[bytes]:
        while True:
            yield piece

    return body


def _begun(start: bytes, piece: bytes) -> Callable[[str, int], Iterator[bytes]]:
    def body(tag: str, call: int) -> Iterator[bytes]:
        yield start
        yield from _same(piece)(tag, call)

    return body


def _each(made: Callable[[int], bytes]) -> Callable[[str, int], Iterator[bytes]]:
    return lambda _, __: (made(number) for number in count())


def _text(tag: str, call: int) -> Iterator[bytes]:
    for number in range(1_000, 1_000 + _MOST_PIECES):
        yield chunk({"content": word(tag, call, number).ljust(_LONG, "x")})


def _nothing(_: str, __: int) -> Iterator[bytes]:
    yield from ()


def _nested(_: str, call: int) -> Iterator[bytes]:
    levels = _DEEP[call % len(_DEEP)]
    yield b'data: {"x":' + b"[" * levels + b"]" * levels + b"}\n\n"


def _packed() -> tuple[bytes, bytes]:
    """Returns the start of a packed body, and a piece that may follow any number of times: 2 MiB of comments in some
    KB. Packed once: packing for each call would delay the honest models' answers.
    """
    packer = zlib.compressobj(9, wbits=31)
    comment = b":" + b"x" * 65_534 + b"\n"
    start, piece = (packer.compress(comment) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return start, piece * _PACKED_AT_ONCE


def _fragment(number: int, arguments: str) -> bytes:
    function = {"name": "f", "arguments": arguments}
    return chunk({"tool_calls": [{"index": number, "id": f"c{number}", "type": "function", "function": function}]})


ATTACKS: Final[Mapping[str, Attack]] = {
    "text": Attack(_text),
    "line": Attack(_begun(b"data: ", b"x" * 16_384)),
    "comments": Attack(_same(b": " + b"x" * 16_384 + b"\n")),
    "arguments": Attack(_each(lambda _: _fragment(0, "x" * _LONG))),
    "calls": Attack(_each(lambda number: _fragment(number, "{}"))),
    "fields": Attack(_each(lambda number: chunk({}, {f"x{number}": "y" * _LONG}))),
    "names": Attack(_each(lambda number: chunk({}, {f"x{number}": 1}))),
    "choices": Attack(_each(lambda number: chunk({"content": "y"}, index=1 + number))),
    "deep": Attack(_nested),
    "gzip": Attack(_begun(*_packed()), headers={**_SSE, "Content-Encoding": "gzip"}, says=False),
    "page": Attack(_same(b"<p>The page of a proxy.\n" * 99), headers={"Content-Type": "text/html"}, says=False),
    "refusal": Attack(
        _begun(b'{"error":{"message":"', b"no " * 3_000),
        status=400,
        headers={"Content-Type": "application/json"},
        says=False,
    ),
    # No server listens there: a worker that followed would report that its model cannot be reached.
    "redirect": Attack(_nothing, 307, {"Location": "http://127.0.0.1:1/v1/chat/completions"}, says=False),
    "redirect-loop": Attack(_nothing, 307, {"Location": "/v1/chat/completions?again"}, says=False),
    "redirect-get": Attack(_nothing, 302, {"Location": "/v1/chat/completions"}, says=False),
    "silence": Attack(_nothing, says=False),
    "dribble": Attack(_same(b":\n"), pause=0.3, says=False),
    "garbage": Attack(_same(b"\x00\xffNo HTTP at all\r\n\r\n" * 20), says=False),
}


class HostileModel(DemoModel):
    """Serves the demo model, unless the model's name begins with `hostile-`."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal)
        self._lines = journal

    async def completions(self, request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await super()._read(request))
        if (
            "demo" not in asked and "user" in asked
        ):  # Responses has no parameters of a model's own, so it came in one of OpenAI's
            asked["demo"] = orjson.loads(asked.pop("user"))
        request[_RAW] = orjson.dumps(asked)
        if not asked["model"].startswith(PREFIX):
            return await super().completions(request)
        kind = asked["model"].removeprefix(PREFIX)
        attack = ATTACKS[kind]
        response = web.StreamResponse(status=attack.status, headers=attack.headers)
        if request.query_string:  # a worker has followed the redirect to this address
            await response.prepare(request)
            return response
        demo = asked["demo"]
        tag, call, answer_id = demo["key"], self._count(demo["key"]), f"chatcmpl-{secrets.token_hex(12)}"
        self._lines.request(answer_id, tag, asked["model"], attack.status)
        stream = self.stats.open(answer_id, asked["model"])
        try:
            words = demo.get("after", 0) if attack.says else 0
            pieces = _pieces(attack, words, tag, call)
            if kind == "garbage":
                await _throw(request, pieces)
            else:
                await self._send(request, response, pieces, stream)
            stream.end(State.BROKEN)
        except ConnectionResetError:
            stream.end(State.GONE)
        finally:
            stream.end(State.GONE)
        return response

    async def _send(
        self, request: web.Request, response: web.StreamResponse, pieces: AsyncIterator[bytes], stream: Stream
    ) -> None:
        await response.prepare(request)
        async for piece in pieces:
            # Recorded before it is sent: the client may have read everything sent.
            stream.sent(Frame(piece, tokens=1, text=_text_of(piece)))
            await response.write(piece)
        if response.status == 200:  # it sends no more and does not end
            await asyncio.Event().wait()

    async def _read(self, request: web.Request) -> bytes:
        """Reads the request like `completions`."""
        return bytes(request.pop(_RAW))


async def _pieces(attack: Attack, words: int, tag: str, call: int) -> AsyncIterator[bytes]:
    for number in range(words):
        yield chunk({"content": word(tag, call, number)})
        await asyncio.sleep(0.02)  # the pace of an honest model
    for piece in attack.body(tag, call):
        yield piece
        await asyncio.sleep(attack.pause)


async def _throw(request: web.Request, pieces: AsyncIterator[bytes]) -> None:
    """Sends bytes in place of an HTTP response."""
    if request.transport is not None:
        request.transport.write(await anext(pieces))
        request.transport.close()


def _text_of(piece: bytes) -> str:
    """Returns the text that a piece adds to the first choice."""
    if not piece.startswith(b'data: {"id":'):
        return ""
    choice = orjson.loads(piece.removeprefix(b"data: "))["choices"][0]
    return "" if choice["index"] else str(choice["delta"].get("content", ""))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.hostile_model", description="A demo model among hostile ones."
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--journal", type=Path, required=True)
    given = parser.parse_args()
    with Journal(given.journal) as journal, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve("127.0.0.1", given.port, _announce, model=HostileModel(journal)))


def _announce(url: str) -> None:
    print(f"demo model on {url}", flush=True)


if __name__ == "__main__":
    main()
