"""OpenAI's chat completions, and what speaks like them: one raw stream a call, its errors translated.

The SDK makes the request, with its headers and credentials. The chunk accumulator parses the bytes of the
answer: the SDK's chunk objects cost several times the CPU (docs/decisions/0003-raw-model-stream.md).
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import httpx2
import openai
import orjson
from openai import AsyncAzureOpenAI, AsyncStream

from readalong.core.errors import ModelError
from readalong.core.settings import Settings
from readalong.worker.model.answer import Answer
from readalong.worker.model.body_reader import CUT, causes_of, cut, events_of, start_of
from readalong.worker.model.chunk_accumulator import ChunkAccumulator
from readalong.worker.model.credentials import NoCredentials, fits_a_path, fits_json, secrets
from readalong.worker.model.error_messages import AWAY, reason
from readalong.worker.model.limits import Limits
from readalong.worker.model.openai_client import client_of
from readalong.worker.model.provider import Batch
from readalong.worker.model.redaction import Redactor
from readalong.worker.model.transport import AiohttpTransport, Redirected

#: Bytes of a refusal that are read for its reason.
_LONGEST_REASON: Final = 65_536
#: What a part of a path may hold unescaped (RFC 3986, section 3.3).
_PART: Final = "!$&'()*+,;=:@"

_CODES: Final = {
    400: ("model_bad_request", False),
    401: ("model_unauthorized", False),
    403: ("model_unauthorized", False),
    404: ("model_not_found", False),
    408: ("model_timeout", True),
    409: ("model_error", True),
    413: ("model_bad_request", False),
    422: ("model_bad_request", False),
    429: ("model_rate_limited", True),
}


class Refused(Exception):
    """The model answered with an error status."""

    def __init__(self, response: httpx2.Response, body: bytes) -> None:
        super().__init__(response.status_code)
        self.response = response
        self.body = body


_FAILURES: Final = (
    Refused,
    Redirected,
    NoCredentials,
    openai.OpenAIError,
    httpx2.HTTPError,
    httpx2.InvalidURL,
    aiohttp.ClientError,
)


class OpenAIProvider:
    """One client, shared by all streams of a process: to build one costs tens of milliseconds."""

    def __init__(self, settings: Settings, redactor: Redactor) -> None:
        """`redactor` learns the secrets of this way to a model. Raises BadSettings when the environment does not say
        how to reach one."""
        transport = AiohttpTransport(connect_timeout=settings.connect_timeout)
        self._client = client_of(settings, transport, on_response=_refuse, learn=redactor.learn)
        redactor.add(secrets(transport.proxies.values()))
        self.redactor = redactor
        self._limits = Limits.of(settings)

    @asynccontextmanager
    async def stream(self, request: dict[str, Any], chunks: ChunkAccumulator) -> AsyncIterator[AsyncIterator[Batch]]:
        """`Provider.stream`."""
        async with self.body(request) as pieces, aclosing(batches_of(pieces, chunks, self._limits)) as batches:
            yield batches

    @asynccontextmanager
    async def body(self, request: dict[str, Any]) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Calls the model and yields its answer's body in pieces: SSE, or one JSON document in an SSE frame.

        Leaving the block closes the connection, so that the model stops generating. Raises ModelError.
        """
        async with (
            aclosing(await self._call(request)) as response,
            # A generator that is left half read would be closed some time later, by a task of its own.
            aclosing(events_of(response, self.redactor.text, self._limits.line)) as pieces,
        ):
            yield pieces

    async def close(self) -> bool:
        """`Provider.close`."""
        await self._client.close()
        return True

    async def _call(self, request: dict[str, Any]) -> httpx2.Response:
        model: str = request["model"]
        if not self._can_name(model):
            raise ModelError("model_not_found", "No model can have this name.", retryable=False)
        # On Azure the deployment is a part of the path. Elsewhere only the body names the model.
        azure = isinstance(self._client, AsyncAzureOpenAI)
        path = f"/deployments/{quote(model, safe=_PART)}/chat/completions" if azure else "/chat/completions"
        try:
            answer = await self._client.post(
                path, cast_to=object, content=orjson.dumps(request), stream=True, stream_cls=AsyncStream[object]
            )
        except _FAILURES as error:
            raise self._failure(error, model) from None
        return answer.response

    def _failure(self, error: Exception, model: str) -> ModelError:
        """Why a call got no answer."""
        # The SDK puts errors of its own around some of those below it.
        causes = causes_of(error)
        for cause in causes:
            if isinstance(cause, Refused):
                return self._refusal(cause.response, cause.body, model)
            if isinstance(cause, Redirected):
                return _redirected(cause)
            if isinstance(cause, NoCredentials):
                # The user's identity service is away, most likely: as with a model that is away, the job waits.
                return ModelError("model_unauthorized", cause.args[0], retryable=True, away=True)
        return _unreached(causes)

    def _can_name(self, model: str) -> bool:
        # Of Azure's addresses it is a part.
        return fits_a_path(model) if isinstance(self._client, AsyncAzureOpenAI) else fits_json(model)

    def _refusal(self, response: httpx2.Response, body: bytes, model: str) -> ModelError:
        status = response.status_code
        code, retryable = _CODES.get(status, ("model_error", status >= 500))
        if code == "model_unauthorized":
            # The server's own words may quote the key.
            message = f"The model refused our credentials ({status})."
        else:
            message = f"The model answered {status}: {self.redactor.shown(_reason(body) or response.reason_phrase)}"
        return ModelError(
            code,
            message,
            retryable=retryable,
            retry_after=_retry_after(response.headers),
            status=status,
            away=status in AWAY and not _is_of_quota(body),
            refuses=_refuses_us(status, body, model),
        )

    @property
    def host(self) -> str:
        """Where the model is, for people: no user, no path, no key."""
        url = self._client.base_url
        return url.host if url.port is None else f"{url.host}:{url.port}"


async def batches_of(
    pieces: AsyncGenerator[bytes, None], chunks: ChunkAccumulator, limits: Limits
) -> AsyncGenerator[Batch, None]:
    """The events of an answer's body. Raises ModelError, after what was said before the failure."""
    answer = Answer(chunks, limits=limits)
    try:
        async for piece in pieces:
            yield answer.feed(piece), len(piece), answer.done
            if answer.failure is not None:
                raise answer.failure
            if answer.done:
                # A connection is used again once its answer has been read to its end.
                async for _ in pieces:
                    pass
                return
    except ModelError as error:
        if error.code != "model_cut" or not chunks.finished:
            raise
    yield answer.close(), 0, answer.done
    if answer.failure is not None:
        raise answer.failure


async def _refuse(response: httpx2.Response) -> None:
    """Raises Refused for an error status, before the SDK reads a body that may have no end."""
    if response.is_success:
        return
    try:
        body = await start_of(response, _LONGEST_REASON)
    except CUT as error:
        raise cut(error) from None
    raise Refused(response, body)


def _redirected(error: Redirected) -> ModelError:
    """The address is no model's, mostly: then it is the worker's fault."""
    return ModelError(
        "model_redirected",
        f"The model answered {error.args[0]} with a redirect that is not followed.",
        retryable=False,
        status=error.args[0],
        refuses=True,
    )


def _unreached(causes: list[BaseException]) -> ModelError:
    """Why no answer began."""
    if any(
        isinstance(cause, aiohttp.ClientResponseError) and not isinstance(cause, aiohttp.ClientHttpProxyError)
        for cause in causes
    ):
        # It is there, and answers this call so: to take it for away would keep the jobs of its other models.
        return ModelError("model_malformed", "The model's answer is no HTTP.", retryable=True)
    away = any(isinstance(cause, httpx2.HTTPError | aiohttp.ClientError) for cause in causes)
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return ModelError("model_timeout", "The model did not answer in time.", retryable=True, away=away)
    # The SDK's transport calls every broken connection a time-out; what aiohttp met is at the root.
    reason = type(causes[-1]).__name__
    return ModelError("model_unreachable", f"The model cannot be reached: {reason}.", retryable=True, away=away)


def _is_of_quota(body: bytes) -> bool:
    """Whether a 429 says that the account is used up: OpenAI's, which no waiting helps."""
    return b"insufficient_quota" in body


def _refuses_us(status: int, body: bytes, model: str) -> bool:
    """Whether a refusal may be the worker's fault, its key's or its address': any job's, then."""
    if status in (403, 404):
        # One that speaks of the model says that there is no such model, or not for this key. An address that is
        # no model's does not.
        said = body.lower()
        return not any(word in said for word in (model.lower().encode(), b"model", b"deployment"))
    return status in (401, 402) or (status == 429 and _is_of_quota(body))


def _reason(body: bytes) -> str | None:
    """What a refusal's body says, in JSON or in plain text; None for a page, and for bytes that are no text."""
    try:
        return reason(orjson.loads(body))
    except orjson.JSONDecodeError:
        pass
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        return None
    return None if text.startswith("<") else text or None


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds, from seconds or a date (RFC 9110, section 10.2.3); None where there is none that makes sense."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * scale
        except KeyError:
            continue
        except ValueError:
            seconds = _seconds_until(headers[name], headers.get("date"))
        if 0 <= seconds < 86_400:
            return seconds
    return None


def _seconds_until(date: str, now: str | None) -> float:
    """Seconds from the server's own `Date` to an HTTP date, for our clock may be wrong; 0 for one that has passed, and
    NaN if it is no date."""
    try:
        at = parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return math.nan
    try:
        since = parsedate_to_datetime(now or "").timestamp()
    except (ValueError, OverflowError):
        since = time.time()
    return max(0.0, at - since)
