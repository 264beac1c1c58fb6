"""The OpenAI-compatible model: one raw stream a call, its errors translated.

The SDK says where and with which headers a call goes, once for each model; the calls are its HTTP client's. The bytes
are read raw and parsed by `worker.chunks`: the SDK's way of a call and its chunk objects cost several times the CPU
(docs/decisions/0003-raw-model-stream.md).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
import httpx2
import openai
import orjson
from openai import AsyncAzureOpenAI, AsyncOpenAI
from openai._models import FinalRequestOptions

from readalong.errors import BadSettings, ModelError
from readalong.settings import Settings
from worker.body import Body

#: Longest answer to a request that a server gave whole instead of streaming it, in bytes.
_LONGEST_BODY: Final = 33_554_432
#: Bytes of a refusal that are read for its reason.
_LONGEST_REASON: Final = 65_536
#: Models whose calls' addresses are kept: clients may name any.
_MOST_MODELS: Final = 100

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
#: Statuses of a server, or of what stands before it, that is overloaded, restarts or cannot be reached.
_AWAY: Final = frozenset({429, 502, 503, 504, 521, 522, 523, 529})


class Model:
    """One client, shared by all streams of a process: to build one costs tens of milliseconds."""

    def __init__(self, settings: Settings) -> None:
        """Raises BadSettings when the environment does not say how to reach a model."""
        self._client, self._http = _clients(settings)
        #: Of each model what the SDK would send, but for the body.
        self._made: dict[str, httpx2.Request] = {}

    @asynccontextmanager
    async def stream(self, request: dict[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        """Calls the model and yields its answer's body in pieces: SSE, or one JSON document in an SSE frame.

        Leaving the block closes the connection, so that the model stops generating. Raises ModelError.
        """
        try:
            response = await self._http.send(await self._request(request), stream=True)
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError) as error:
            raise _unreached(error) from None
        try:
            async with aclosing(response):
                if not response.is_success:
                    raise self._refusal(response, await _start_of(response), request["model"])
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                body = _body(response)
                if kind == "application/json":
                    pieces = _framed(body)
                elif kind in (
                    "text/event-stream",
                    "text/plain",
                    "application/x-ndjson",
                    "application/octet-stream",
                    "",
                ):
                    pieces = body
                else:
                    # A page, mostly: the address is no model's.
                    raise ModelError(
                        "model_malformed", f"The model answered with {kind[:80]}.", retryable=False, refuses=True
                    )
                # A generator that is left half read would be closed some time later, by a task of its own.
                async with aclosing(pieces):
                    yield pieces
        except (httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError) as error:
            root = type(_causes(error)[-1]).__name__
            raise ModelError("model_cut", f"The model broke off: {root}.", retryable=True) from None

    async def close(self) -> None:
        await self._client.close()

    async def _request(self, body: dict[str, Any]) -> httpx2.Request:
        """The SDK's request around a body that goes out as it came."""
        made = self._made.get(body["model"])
        if made is None:
            options = FinalRequestOptions.construct(
                method="post",
                url="/chat/completions",
                # Azure makes the deployment's path of it.
                json_data={"model": body["model"]},
                security={"bearer_auth": True},
            )
            made = self._client._build_request(await self._client._prepare_options(options))
            del made.headers["content-length"]
            if len(self._made) >= _MOST_MODELS:
                self._made.clear()
            self._made[body["model"]] = made
        content = orjson.dumps(body)
        return httpx2.Request(made.method, made.url, headers=made.headers, content=content, extensions=made.extensions)

    def _refusal(self, response: httpx2.Response, body: bytes, model: str) -> ModelError:
        status = response.status_code
        code, retryable = _CODES.get(status, ("model_error", status >= 500))
        if code == "model_unauthorized":
            # The server's own words may quote the key.
            message = f"The model refused our credentials ({status})."
        else:
            message = f"The model answered {status}: {self.clean(_reason(body) or response.reason_phrase)}"
        return ModelError(
            code,
            message,
            retryable=retryable,
            retry_after=_retry_after(response.headers),
            status=status,
            away=status in _AWAY and not _is_of_quota(body),
            refuses=_refuses_us(status, body, model),
        )

    @property
    def host(self) -> str:
        """Where the model is, for people: no user, no path, no key."""
        url = self._client.base_url
        return url.host if url.port is None else f"{url.host}:{url.port}"

    def clean(self, message: str) -> str:
        """The message, shortened and without our key, should the server quote it."""
        key = self._client.api_key
        return (message.replace(key, "***") if len(key) > 3 else message)[:500]


def _clients(settings: Settings) -> tuple[AsyncOpenAI, httpx2.AsyncClient]:
    """The SDK's client, and the HTTP client in it, which knows proxies and redirects."""
    timeout = httpx2.Timeout(None, connect=settings.connect_timeout)
    # No limit on connections but the slots: a stream that waited for a free connection would look like a slow model.
    # The SDK passes the number on to aiohttp, where 0 is no limit, and None would be 100.
    limits = httpx2.Limits(max_connections=0, max_keepalive_connections=None, keepalive_expiry=30)
    # Retries are ours: they end with the first token, obey the cancel flag, and count against the job's time.
    common: dict[str, Any] = {"max_retries": 0, "timeout": timeout}
    environment = os.environ
    try:
        if environment.get("AZURE_OPENAI_ENDPOINT"):
            http_client = openai.DefaultAioHttpClient(timeout=timeout, limits=limits)
            return AsyncAzureOpenAI(**common, http_client=http_client), http_client
        key = environment.get("OPENAI_API_KEY")
        if not key and not environment.get("OPENAI_BASE_URL"):
            raise BadSettings(
                "OPENAI_API_KEY: not set; set it, or OPENAI_BASE_URL for a server without keys, "
                "or AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY"
            )
        http_client = openai.DefaultAioHttpClient(timeout=timeout, limits=limits)
        # vLLM, Ollama and others take any key, but the SDK wants one.
        return AsyncOpenAI(**common, http_client=http_client, api_key=key or "none"), http_client
    except (openai.OpenAIError, ValueError, httpx2.InvalidURL) as error:
        raise BadSettings(str(error).replace("\n", " ")) from None


def _body(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """The body as it comes: read from aiohttp itself, past six generators between it and `aiter_bytes`."""
    stream = getattr(getattr(response.stream, "_stream", None), "_aiohttp_response", None)
    if isinstance(stream, aiohttp.ClientResponse) and not response.headers.get("content-encoding"):
        return Body.of(stream.content).pieces()
    return response.aiter_bytes()


async def _start_of(response: httpx2.Response) -> bytes:
    """All of a short body: one that goes on and on would fill our memory."""
    start = bytearray()
    async with aclosing(_body(response)) as pieces:
        async for piece in pieces:
            start += piece
            if len(start) > _LONGEST_REASON:
                break
    return bytes(start)


async def _framed(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """A whole JSON answer as one SSE message, for servers that do not stream."""
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > _LONGEST_BODY:
            raise ModelError("model_malformed", f"The model's answer exceeds {_LONGEST_BODY} bytes.", retryable=False)
    # JSON has no line ends but between its tokens.
    yield b"data: " + bytes(body).replace(b"\r", b" ").replace(b"\n", b" ") + b"\n\ndata: [DONE]\n\n"


def _causes(error: BaseException) -> list[BaseException]:
    """The error, its cause, and so on; what was raised first is the last."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    return causes


def _unreached(error: Exception) -> ModelError:
    """Why no answer began."""
    # The SDK's transport calls every broken connection a time-out; what aiohttp met is at the root.
    causes = _causes(error)
    away = isinstance(error, httpx2.HTTPError | aiohttp.ClientError)
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return ModelError("model_timeout", "The model did not answer in time.", retryable=True, away=away)
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
    """What a refusal's body says, if it is an object as servers' errors are."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict):
        return None
    inner = value.get("error", value)
    message = inner.get("message") if isinstance(inner, dict) else inner
    return str(message) if message else None


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
