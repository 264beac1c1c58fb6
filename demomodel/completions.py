"""Chat completions: the one call that matters, from request to the end of its stream."""

import asyncio
import secrets
import time
from collections import OrderedDict
from dataclasses import replace
from typing import Literal

import orjson
from aiohttp import HttpVersion11, web

from demomodel.behaviours import Behaviour, Manner
from demomodel.chunks import Act, Envelope, pieces
from demomodel.faults import MALFORMED, NOT_SSE, bent
from demomodel.journal import Journal
from demomodel.pump import Pump
from demomodel.question import Question, question_of
from demomodel.refusals import ApiError, bad_request, error_body
from demomodel.reply import reply_to
from demomodel.stats import State, Stats
from demomodel.wheel import Wheel
from demomodel.whole import completion

WRONG_KEY = "wrong"
"""The only API key that is refused."""

KEPT_KEYS = 1000

_STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


class Model:
    """The state of one server: its counters, its open connections, and who has asked how often."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.stats = Stats(journal)
        self._journal = journal
        self._wheel = Wheel()
        self._called: OrderedDict[str, int] = OrderedDict()
        self._transports: set[asyncio.Transport] = set()

    def shut(self) -> None:
        """Cut all open streams, so that a shutdown need not wait for them."""
        for transport in list(self._transports):
            transport.abort()

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/chat/completions`, and Azure's path, where the deployment is the model."""
        answer_id = f"chatcmpl-{secrets.token_hex(12)}"
        question = None
        try:
            question = await self._question(request, answer_id)
            _maybe_fail(question.manner)
        except ApiError as error:
            self.stats.refused += 1
            self._note(answer_id, question, error.status)
            return web.Response(
                status=error.status,
                body=error.body(),
                content_type="application/json",
                headers={**error.headers, "x-request-id": answer_id},
            )
        self._note(answer_id, question, None if question.manner.has(Behaviour.HANG) else 200)
        if question.manner.has(Behaviour.NOT_SSE):
            self.stats.answers += 1
            if self._journal is not None:
                self._journal.closed(answer_id, State.BROKEN, 0, "")
            return web.Response(body=NOT_SSE, content_type="text/html")
        if question.stream or question.manner.behaviours & {Behaviour.HANG, Behaviour.STALL}:
            return await self._held(request, question, answer_id)
        return await self._whole(request, question, answer_id)

    async def _question(self, request: web.Request, answer_id: str) -> Question:
        deployment = request.match_info.get("deployment")
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise ApiError(413, "The request body is too large.", code="request_too_large") from error
        body, wrong = _parsed(raw)
        names = sorted({name.lower() for name in request.headers})
        self.stats.request(answer_id, request.path_qs, names, len(raw), body)
        _authorize(request)
        if deployment is not None and not request.query.get("api-version"):
            raise ApiError(404, "Resource not found", kind="invalid_request_error", code="404")
        if wrong is not None:
            raise wrong
        question = question_of(body, deployment)
        call = self._count(question.manner.key)
        return replace(question, call=call, manner=question.manner.of_call(call))

    def _count(self, key: str) -> int:
        """Which request with this key it is, from 1 on."""
        call = self._called[key] = self._called.get(key, 0) + 1
        if len(self._called) > KEPT_KEYS:
            self._called.popitem(last=False)
        return call

    def _note(self, answer_id: str, question: Question | None, status: int | None) -> None:
        if self._journal is not None:
            tag, model = ("", "") if question is None else (question.manner.key, question.model)
            self._journal.request(answer_id, tag, model, status)

    async def _whole(self, request: web.Request, question: Question, answer_id: str) -> web.Response:
        manner = question.manner
        if manner.first_token_seconds:
            await asyncio.sleep(manner.first_token_seconds)
        if manner.behaviours & {Behaviour.CUT, Behaviour.RESET, Behaviour.CLOSE_EARLY} and request.transport:
            request.transport.close()
        self.stats.answers += 1
        if manner.has(Behaviour.ERROR):
            body = error_body("The server had an error while processing your request.", "server_error")
        elif manner.has(Behaviour.MALFORMED):
            body = MALFORMED.removeprefix(b"data: ")
        else:
            body = completion(question, reply_to(question), answer_id, int(time.time()))
        return web.Response(body=body, content_type="application/json", headers={"x-request-id": answer_id})

    async def _held(self, request: web.Request, question: Question, answer_id: str) -> web.StreamResponse:
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
            pump = Pump(response, transport, self._wheel, stream, chunked=request.version >= HttpVersion11)
            stream.end(await _stream(pump, question, answer_id))
        except ConnectionResetError:
            stream.end(State.GONE)
        finally:
            # Still open here only if the handler was cancelled, which is what a lost connection does.
            stream.end(State.GONE)
            self._transports.discard(transport)
        return response


def _maybe_fail(manner: Manner) -> None:
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


async def _stream(pump: Pump, question: Question, answer_id: str) -> Literal[State.FINISHED, State.BROKEN]:
    envelope = Envelope(answer_id, int(time.time()), question)
    source = bent(pieces(question, reply_to(question), envelope), question.manner)
    act = await pump.run(source, question.manner)
    match act:
        case None:
            return State.FINISHED
        case Act.STALL:
            await _for_ever()
        case Act.CUT:
            pump.cut()
        case Act.RESET:
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
