"""`DemoModel` answers chat completions, from the request to the end of its stream."""

import asyncio
import secrets
import time
from collections import OrderedDict
from dataclasses import replace
from typing import Literal

import orjson
from aiohttp import HttpVersion11, web

from readalong.testing.behaviours import Behaviour
from readalong.testing.chat_request import ChatRequest, parse_chat_request
from readalong.testing.chunks import Envelope, FaultAction, answer_frames
from readalong.testing.completion_body import completion_body
from readalong.testing.errors import ApiError, bad_request, error_body
from readalong.testing.faults import MALFORMED, NOT_SSE, inject_faults
from readalong.testing.journal import Journal
from readalong.testing.limits import MAX_BODY_BYTES, OPEN_BYTES, READING_BYTES
from readalong.testing.profile import Profile
from readalong.testing.reply import Reply, build_reply
from readalong.testing.stats import State, Stats
from readalong.testing.stream_sender import StreamSender
from readalong.testing.timer_wheel import TimerWheel

WRONG_KEY = "wrong"
"""The only API key that is refused."""

KEPT_KEYS = 1000

_STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


class DemoModel:
    """The state of one server: its counters, its open connections, and the number of requests with each key."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.stats = Stats(journal)
        self._journal = journal
        self._wheel = TimerWheel()
        self._calls: OrderedDict[str, int] = OrderedDict()
        self._reading_bytes = 0
        self._open_bytes = 0
        self._transports: set[asyncio.Transport] = set()

    def abort_streams(self) -> None:
        """Cuts all open streams: a shutdown would wait for them."""
        for transport in list(self._transports):
            transport.abort()

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """Handles `POST /v1/chat/completions`, and Azure's path, where the deployment is the model."""
        answer_id = f"chatcmpl-{secrets.token_hex(12)}"
        chat = None
        weight = 0
        try:
            chat = await self._parse(request, answer_id)
            _raise_requested_error(chat.profile)
            reply = build_reply(chat)
            weight = self._reserve(reply.weight(chat.profile.has(Behaviour.NUMBERED)))
            # The answer needs none of these, and parsed JSON takes many times as much memory as its text.
            chat = replace(chat, messages=(), tools=(), functions=())
            return await self._answer(request, chat, reply, answer_id)
        except ApiError as error:
            self.stats.refused += 1
            self._write_request(answer_id, chat, error.status)
            return web.Response(
                status=error.status,
                body=error.body(),
                content_type="application/json",
                headers={**error.headers, "x-request-id": answer_id},
            )
        finally:
            self._open_bytes -= weight

    async def _answer(
        self, request: web.Request, chat: ChatRequest, reply: Reply, answer_id: str
    ) -> web.StreamResponse:
        stays_open = chat.stream or bool(chat.profile.behaviours & {Behaviour.HANG, Behaviour.STALL})
        body = b"" if stays_open else _body(chat, reply, answer_id)
        self._write_request(answer_id, chat, None if chat.profile.has(Behaviour.HANG) else 200)
        if chat.profile.has(Behaviour.NOT_SSE):
            self.stats.answers += 1
            if self._journal is not None:
                self._journal.closed(answer_id, State.BROKEN, 0, "")
            return web.Response(body=NOT_SSE, content_type="text/html")
        if stays_open:
            return await self._stream(request, chat, reply, answer_id)
        return await self._send_body(request, chat.profile, body, answer_id)

    def _reserve(self, weight: int) -> int:
        """Adds `weight` to that of all open answers and returns it. Raises ApiError(503) beyond the limit."""
        if self._open_bytes + weight > OPEN_BYTES:
            raise _busy()
        self._open_bytes += weight
        return weight

    async def _parse(self, request: web.Request, answer_id: str) -> ChatRequest:
        """Reads, records and checks a request. Raises ApiError."""
        deployment = request.match_info.get("deployment")
        raw = await self._read(request)
        body, invalid = _parse_json(raw)
        names = sorted({name.lower() for name in request.headers})
        self.stats.request(answer_id, request.path_qs, names, raw, body)
        _authorize(request)
        if deployment is not None and not request.query.get("api-version"):
            raise ApiError(404, "Resource not found", kind="invalid_request_error", code="404")
        if invalid is not None:
            raise invalid
        chat = parse_chat_request(body, deployment)
        call = self._count(chat.profile.key)
        return replace(chat, call=call, profile=chat.profile.for_call(call))

    async def _read(self, request: web.Request) -> bytes:
        """Returns the body. Raises ApiError(413), or ApiError(503) if all bodies together are too large.

        aiohttp's own `read` would keep the body until the answer ends.
        """
        read = bytearray()
        try:
            async for part in request.content.iter_any():
                self._reading_bytes += len(part)
                read += part
                if len(read) > MAX_BODY_BYTES:
                    raise ApiError(413, "The request body is too large.", code="request_too_large")
                if self._reading_bytes > READING_BYTES:
                    raise _busy()
        finally:
            self._reading_bytes -= len(read)
        return bytes(read)

    def _count(self, key: str) -> int:
        """Returns the number of requests with this key, this one included."""
        call = self._calls[key] = self._calls.get(key, 0) + 1
        if len(self._calls) > KEPT_KEYS:
            self._calls.popitem(last=False)
        return call

    def _write_request(self, answer_id: str, chat: ChatRequest | None, status: int | None) -> None:
        if self._journal is not None:
            tag, model = ("", "") if chat is None else (chat.profile.key, chat.model)
            self._journal.request(answer_id, tag, model, status)

    async def _send_body(self, request: web.Request, profile: Profile, body: bytes, answer_id: str) -> web.Response:
        if profile.first_token_seconds:
            await asyncio.sleep(profile.first_token_seconds)
        if profile.behaviours & {Behaviour.CUT, Behaviour.RESET, Behaviour.CLOSE_EARLY} and request.transport:
            request.transport.close()
        self.stats.answers += 1
        return web.Response(body=body, content_type="application/json", headers={"x-request-id": answer_id})

    async def _stream(
        self, request: web.Request, chat: ChatRequest, reply: Reply, answer_id: str
    ) -> web.StreamResponse:
        """Holds the connection open: for a stream, or for silence."""
        transport = request.transport
        response = web.StreamResponse(headers={**_STREAM_HEADERS, "x-request-id": answer_id})
        if transport is None:
            return response
        stream = self.stats.open(answer_id, chat.model)
        self._transports.add(transport)
        try:
            if chat.profile.has(Behaviour.HANG) or not chat.stream:
                await _wait_for_cancellation()
            await response.prepare(request)
            sender = StreamSender(response, transport, self._wheel, stream, chunked=request.version >= HttpVersion11)
            stream.end(await _send(sender, chat, reply, answer_id))
        except ConnectionResetError:
            stream.end(State.GONE)
        finally:
            # The stream is still open here only if the handler was cancelled: the client closed the connection.
            stream.end(State.GONE)
            self._transports.discard(transport)
        return response


def _raise_requested_error(profile: Profile) -> None:
    if profile.has(Behaviour.TOO_MANY):
        raise ApiError(
            429,
            "Rate limit reached for the demo model. Please try again later.",
            kind="requests",
            code="rate_limit_exceeded",
            headers={"Retry-After": f"{profile.retry_after:g}"},
        )
    if profile.has(Behaviour.SERVER_ERROR):
        raise ApiError(500, "The server had an error while processing your request.", kind="server_error")


def _body(chat: ChatRequest, reply: Reply, answer_id: str) -> bytes:
    """Returns the body of an answer that is not streamed. Raises ApiError."""
    if chat.profile.has(Behaviour.ERROR):
        return error_body("The server had an error while processing your request.", "server_error")
    if chat.profile.has(Behaviour.MALFORMED):
        return MALFORMED.removeprefix(b"data: ")
    return completion_body(chat, reply, answer_id, int(time.time()))


def _busy() -> ApiError:
    return ApiError(503, "The demo model is busy.", kind="server_error", code="busy", headers={"Retry-After": "1"})


async def _send(
    sender: StreamSender, chat: ChatRequest, reply: Reply, answer_id: str
) -> Literal[State.FINISHED, State.BROKEN]:
    envelope = Envelope(answer_id, int(time.time()), chat)
    frames = inject_faults(answer_frames(chat, reply, envelope), chat.profile)
    action = await sender.run(frames, chat.profile)
    match action:
        case None:
            return State.FINISHED
        case FaultAction.STALL:
            await _wait_for_cancellation()
        case FaultAction.CUT:
            sender.cut()
        case FaultAction.RESET:
            sender.reset()
    return State.BROKEN


async def _wait_for_cancellation() -> None:
    await asyncio.get_running_loop().create_future()


def _parse_json(raw: bytes) -> tuple[object, ApiError | None]:
    """Returns the parsed body, or None and the error."""
    try:
        return orjson.loads(raw), None
    except orjson.JSONDecodeError as error:
        return None, bad_request(f"We could not parse the JSON body of your request: {error}.")


def _authorize(request: web.Request) -> None:
    key = request.headers.get("api-key") or request.headers.get("Authorization", "").removeprefix("Bearer ")
    if key == WRONG_KEY:
        raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")


DEMO_MODEL = web.AppKey("DEMO_MODEL", DemoModel)
