"""The OpenAI-compatible model: one raw stream a call, its errors translated.

The bytes are read raw and parsed by `worker.chunks`: the SDK's chunk objects cost five times the CPU
(docs/decisions/0003-raw-model-stream.md).
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, cast

import aiohttp
import httpx2
import openai
from openai import AsyncAPIResponse, AsyncAzureOpenAI, AsyncOpenAI

from readalong.errors import BadSettings, ModelError
from readalong.settings import Settings
from worker.body import Body

#: Longest answer to a request that a server gave whole instead of streaming it, in bytes.
_LONGEST_BODY: Final = 33_554_432

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


class Model:
    """One client, shared by all streams of a process: to build one costs tens of milliseconds."""

    def __init__(self, settings: Settings) -> None:
        """Raises BadSettings when the environment does not say how to reach a model."""
        self._settings = settings
        self._client = _client(settings)

    @asynccontextmanager
    async def stream(self, request: dict[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        """Calls the model and yields its answer's body in pieces: SSE, or one JSON document in an SSE frame.

        Leaving the block closes the connection, so that the model stops generating. Raises ModelError.
        """
        try:
            async with self._client.chat.completions.with_streaming_response.create(
                # Azure makes the deployment's path of `model`; the body as a whole is `extra_body`, untouched.
                model=request["model"],
                messages=[],
                stream=True,
                extra_body=request,
            ) as response:
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
                    raise ModelError("model_malformed", f"The model answered with {kind[:80]}.", retryable=False)
                # A generator that is left half read would be closed some time later, by a task of its own.
                async with aclosing(pieces):
                    yield pieces
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError) as error:
            raise self._translate(error) from None

    async def close(self) -> None:
        await self._client.close()

    def _translate(self, error: Exception) -> ModelError:
        if isinstance(error, openai.APIStatusError):
            code, retryable = _CODES.get(error.status_code, ("model_error", error.status_code >= 500))
            if code == "model_unauthorized":
                # The server's own words may quote the key.
                message = f"The model refused our credentials ({error.status_code})."
            else:
                message = f"The model answered {error.status_code}: {self.clean(_reason(error))}"
            return ModelError(code, message, retryable=retryable, retry_after=_retry_after(error.response.headers))
        # The SDK's transport calls every broken connection a time-out; what aiohttp met is at the root.
        causes = _causes(error)
        root = causes[-1]
        if isinstance(error, httpx2.HTTPError | httpx2.StreamError):
            return ModelError("model_cut", f"The model broke off: {type(root).__name__}.", retryable=True)
        if isinstance(error, openai.APIConnectionError | aiohttp.ClientError):
            if any(isinstance(cause, TimeoutError) for cause in causes):
                return ModelError("model_timeout", "The model did not answer in time.", retryable=True)
            reason = type(root).__name__
            return ModelError("model_unreachable", f"The model cannot be reached: {reason}.", retryable=True)
        return ModelError("model_error", self.clean(str(error)), retryable=False)

    def clean(self, message: str) -> str:
        """The message, shortened and without our key, should the server quote it."""
        key = self._client.api_key
        return (message.replace(key, "***") if len(key) > 3 else message)[:500]


def _client(settings: Settings) -> AsyncOpenAI:
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
            return AsyncAzureOpenAI(**common, http_client=http_client)
        key = environment.get("OPENAI_API_KEY")
        if not key and not environment.get("OPENAI_BASE_URL"):
            raise BadSettings(
                "OPENAI_API_KEY: not set; set it, or OPENAI_BASE_URL for a server without keys, "
                "or AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY"
            )
        http_client = openai.DefaultAioHttpClient(timeout=timeout, limits=limits)
        # vLLM, Ollama and others take any key, but the SDK wants one.
        return AsyncOpenAI(**common, http_client=http_client, api_key=key or "none")
    except (openai.OpenAIError, ValueError, httpx2.InvalidURL) as error:
        raise BadSettings(str(error).replace("\n", " ")) from None


def _body(response: AsyncAPIResponse[Any]) -> AsyncGenerator[bytes, None]:
    """The body as it comes: read from aiohttp itself, past six generators between it and the SDK's `iter_bytes`."""
    stream = getattr(getattr(response.http_response.stream, "_stream", None), "_aiohttp_response", None)
    if isinstance(stream, aiohttp.ClientResponse) and not response.headers.get("content-encoding"):
        return Body.of(stream.content).pieces()
    # The SDK does not say that it is a generator.
    return cast(AsyncGenerator[bytes, None], response.iter_bytes())


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


def _reason(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        message = inner.get("message") if isinstance(inner, dict) else inner
        if message:
            return str(message)
    return type(error).__name__


def _retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds; a date, which RFC 9110 allows too, is rare enough here to count as unknown."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < 86_400:
            return seconds
    return None
