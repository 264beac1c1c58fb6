"""Chat completions: the one call that matters, from request to the end of its stream."""

import asyncio
import secrets
import time
from collections import OrderedDict
from dataclasses import replace
from typing import Literal

import orjson
from aiohttp import HttpVersion11, web

from readalong.testing.behaviours import Behaviour, Profile
from readalong.testing.chunks import Envelope, FaultAction, pieces
from readalong.testing.faults import MALFORMED, NOT_SSE, inject_faults
from readalong.testing.journal import Journal
from readalong.testing.limits import MAX_BODY_BYTES, OPEN_BYTES, READING_BYTES
from readalong.testing.pump import StreamSender
from readalong.testing.question import ChatRequest, chat_request_of
from readalong.testing.refusals import ApiError, bad_request, error_body
from readalong.testing.reply import Reply, reply_to
from readalong.testing.stats import State, Stats
from readalong.testing.wheel import TimerWheel
from readalong.testing.whole import completion

WRONG_KEY = "wrong"
"""The only API key that is refused."""

KEPT_KEYS = 1000

_STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


class Model:
    """The state of one server: its counters, its open connections, and who has asked how often."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.stats = Stats(journal)
        self._journal = journal
        self._wheel = TimerWheel()
        self._called: OrderedDict[str, int] = OrderedDict()
        self._reading = 0
        self._open = 0
        self._transports: set[asyncio.Transport] = set()

    def shut(self) -> None:
        """Cut all open streams, so that a shutdown need not wait for them."""
        for transport in list(self._transports):
            transport.abort()

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/chat/completions`, and Azure's path, where the deployment is the model."""
        answer_id = f"chatcmpl-{secrets.token_hex(12)}"
        question = None
        weight = 0
        try:
            question = await self._question(request, answer_id)
            _maybe_fail(question.manner)
            reply = reply_to(question)
            weight = self._admitted(reply.weight(question.manner.has(Behaviour.NUMBERED)))
            # Nothing of them is needed any more, and parsed they take many times what was sent.
            question = replace(question, messages=(), tools=(), functions=())
            return await self._answer(request, question, reply, answer_id)
        except ApiError as error:
            self.stats.refused += 1
            self._note(answer_id, question, error.status)
            return web.Response(
                status=error.status,
                body=error.body(),
                content_type="application/json",
                headers={**error.headers, "x-request-id": answer_id},
            )
        finally:
            self._open -= weight

    async def _answer(
        self, request: web.Request, question: ChatRequest, reply: Reply, answer_id: str
    ) -> web.StreamResponse:
        held = question.stream or bool(question.manner.behaviours & {Behaviour.HANG, Behaviour.STALL})
        whole = b"" if held else _whole(question, reply, answer_id)
        self._note(answer_id, question, None if question.manner.has(Behaviour.HANG) else 200)
        if question.manner.has(Behaviour.NOT_SSE):
            self.stats.answers += 1
            if self._journal is not None:
                self._journal.closed(answer_id, State.BROKEN, 0, "")
            return web.Response(body=NOT_SSE, content_type="text/html")
        if held:
            return await self._held(request, question, reply, answer_id)
        return await self._given_whole(request, question.manner, whole, answer_id)

    def _admitted(self, weight: int) -> int:
        """`weight`, added to what all open answers hold. Raises ApiError(503) when that would be too much."""
        if self._open + weight > OPEN_BYTES:
            raise _busy()
        self._open += weight
        return weight

    async def _question(self, request: web.Request, answer_id: str) -> ChatRequest:
        deployment = request.match_info.get("deployment")
        raw = await self._read(request)
        body, wrong = _parsed(raw)
        names = sorted({name.lower() for name in request.headers})
        self.stats.request(answer_id, request.path_qs, names, raw, body)
        _authorize(request)
        if deployment is not None and not request.query.get("api-version"):
            raise ApiError(404, "Resource not found", kind="invalid_request_error", code="404")
        if wrong is not None:
            raise wrong
        question = chat_request_of(body, deployment)
        call = self._count(question.manner.key)
        return replace(question, call=call, manner=question.manner.of_call(call))

    async def _read(self, request: web.Request) -> bytes:
        """The body, bounded for itself and with all others that are being read.

        Not aiohttp's own `read`, which would hold it for as long as the answer takes. Raises ApiError(413 or 503).
        """
        read = bytearray()
        try:
            async for piece in request.content.iter_any():
                self._reading += len(piece)
                read += piece
                if len(read) > MAX_BODY_BYTES:
                    raise ApiError(413, "The request body is too large.", code="request_too_large")
                if self._reading > READING_BYTES:
                    raise _busy()
        finally:
            self._reading -= len(read)
        return bytes(read)

    def _count(self, key: str) -> int:
        """Which request with this key it is, from 1 on."""
        call = self._called[key] = self._called.get(key, 0) + 1
        if len(self._called) > KEPT_KEYS:
            self._called.popitem(last=False)
        return call

    def _note(self, answer_id: str, question: ChatRequest | None, status: int | None) -> None:
        if self._journal is not None:
            tag, model = ("", "") if question is None else (question.manner.key, question.model)
            self._journal.request(answer_id, tag, model, status)

    async def _given_whole(self, request: web.Request, manner: Profile, body: bytes, answer_id: str) -> web.Response:
        if manner.first_token_seconds:
            await asyncio.sleep(manner.first_token_seconds)
        if manner.behaviours & {Behaviour.CUT, Behaviour.RESET, Behaviour.CLOSE_EARLY} and request.transport:
            request.transport.close()
        self.stats.answers += 1
        return web.Response(body=body, content_type="application/json", headers={"x-request-id": answer_id})

    async def _held(
        self, request: web.Request, question: ChatRequest, reply: Reply, answer_id: str
    ) -> web.StreamResponse:
        """An answer that holds the connection open: a stream, or a silence."""
        transport = request.transport
        response = web.StreamResponse(headers={**_STREAM_HEADERS, "x-request-id": answer_id})
        if transport is None:
            return response
        stream = self.stats.open(answer_id, question.model)
        self._transports.add(transport)
        try:
            if question.manner.has(Behaviour.HANG) or not question.stream:
                await _for_ever()
            await response.prepare(request)
            pump = StreamSender(response, transport, self._wheel, stream, chunked=request.version >= HttpVersion11)
            stream.end(await _stream(pump, question, reply, answer_id))
        except ConnectionResetError:
            stream.end(State.GONE)
        finally:
            # Still open here only if the handler was cancelled, which is what a lost connection does.
            stream.end(State.GONE)
            self._transports.discard(transport)
        return response


def _maybe_fail(manner: Profile) -> None:
    if manner.has(Behaviour.TOO_MANY):
        raise ApiError(
            429,
            "Rate limit reached for the demo model. Please try again later.",
            kind="requests",
            code="rate_limit_exceeded",
            headers={"Retry-After": f"{manner.retry_after:g}"},
        )
    if manner.has(Behaviour.SERVER_ERROR):
        raise ApiError(500, "The server had an error while processing your request.", kind="server_error")


def _whole(question: ChatRequest, reply: Reply, answer_id: str) -> bytes:
    """The body of an answer that is not streamed. Raises ApiError."""
    if question.manner.has(Behaviour.ERROR):
        return error_body("The server had an error while processing your request.", "server_error")
    if question.manner.has(Behaviour.MALFORMED):
        return MALFORMED.removeprefix(b"data: ")
    return completion(question, reply, answer_id, int(time.time()))


def _busy() -> ApiError:
    return ApiError(503, "The demo model is busy.", kind="server_error", code="busy", headers={"Retry-After": "1"})


async def _stream(
    pump: StreamSender, question: ChatRequest, reply: Reply, answer_id: str
) -> Literal[State.FINISHED, State.BROKEN]:
    envelope = Envelope(answer_id, int(time.time()), question)
    source = inject_faults(pieces(question, reply, envelope), question.manner)
    act = await pump.run(source, question.manner)
    match act:
        case None:
            return State.FINISHED
        case FaultAction.STALL:
            await _for_ever()
        case FaultAction.CUT:
            pump.cut()
        case FaultAction.RESET:
            pump.reset()
    return State.BROKEN


async def _for_ever() -> None:
    """Wait until the handler is cancelled."""
    await asyncio.get_running_loop().create_future()


def _parsed(raw: bytes) -> tuple[object, ApiError | None]:
    try:
        return orjson.loads(raw), None
    except orjson.JSONDecodeError as error:
        return None, bad_request(f"We could not parse the JSON body of your request: {error}.")


def _authorize(request: web.Request) -> None:
    key = request.headers.get("api-key") or request.headers.get("Authorization", "").removeprefix("Bearer ")
    if key == WRONG_KEY:
        raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")


MODEL = web.AppKey("MODEL", Model)
