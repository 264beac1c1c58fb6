"""Calls OpenAI's chat completions, or a compatible server's, and translates the errors.

The SDK says where a call goes and with which headers. The chunk accumulator parses the raw body: the SDK's chunk
objects cost several times the CPU (docs/decisions/0003-raw-model-stream.md).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp
import orjson

from readalong.core.errors import ModelError
from readalong.core.settings import Settings
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.chunks.error_messages import AWAY_STATUSES, Blame, blame_of, server_message
from readalong.worker.model.limits import Limits
from readalong.worker.model.openai.answer_parser import AnswerParser
from readalong.worker.model.openai.body_reader import cause_chain, read_prefix, sse_pieces
from readalong.worker.model.openai.credentials import CredentialsUnavailable, is_model_name, is_path_segment, secrets
from readalong.worker.model.openai.endpoint import Endpoint
from readalong.worker.model.openai.responses.answer_parser import ResponseParser
from readalong.worker.model.openai.responses.request import to_responses
from readalong.worker.model.openai.transport import RedirectNotFollowed, Transport, body_of
from readalong.worker.model.provider import Batch
from readalong.worker.model.redaction import Redactor

logger = logging.getLogger(__name__)

#: Bytes that are read of an error response.
_MAX_ERROR_BODY: Final = 65_536

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


class OpenAIProvider:
    """One endpoint and its connections for all streams of a process."""

    def __init__(self, settings: Settings, redactor: Redactor) -> None:
        """Adds its secrets to `redactor`. Raises BadSettings if the environment does not say how to reach a model."""
        self._endpoint = Endpoint(settings, redactor.add_rotating)
        self._transport = Transport(self._endpoint.base_url, connect_timeout=settings.connect_timeout)
        redactor.add(secrets(self._transport.proxies.values()))
        self.redactor = redactor
        self._limits = Limits.from_settings(settings)
        self._speaks_responses = settings.speaks_responses

    @asynccontextmanager
    async def stream(self, request: dict[str, Any], chunks: ChunkAccumulator) -> AsyncIterator[AsyncIterator[Batch]]:
        """Implements `Provider.stream`."""
        parser = AnswerParser
        if responses := self._speaks_responses(request["model"]):
            request, parser = to_responses(request), ResponseParser
        async with (
            self.body(request, responses=responses) as pieces,
            aclosing(read_batches(pieces, chunks, self._limits, parser)) as batches,
        ):
            yield batches

    @asynccontextmanager
    async def body(
        self, request: dict[str, Any], *, responses: bool = False
    ) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Calls the model and yields the pieces of the response body, an SSE stream. Raises ModelError.

        `responses`: by the Responses API, whose request this is.

        Leaving the block closes the connection, so that the model stops generating.
        """
        response = await self._call(request, responses)
        try:
            read = body_of(response)
            if not 200 <= response.status < 300:
                error = self._error_of(response, await read_prefix(read, _MAX_ERROR_BODY), request["model"])
                # A server without this API is not a wrong address: its other models are asked by another one.
                error.refuses = error.refuses and not (responses and response.status == 404)
                raise error
            kind = response.headers.get("content-type", "")
            body = sse_pieces(read, response.status, kind, self.redactor.redact, self._limits.line)
            # Otherwise another task would close the generator some time later.
            async with aclosing(body) as pieces:
                yield pieces
        finally:
            # A connection whose body was not read to its end is closed. Any other is reused.
            response.release()

    async def close(self) -> bool:
        """Implements `Provider.close`."""
        await self._transport.close()
        return True

    async def _call(self, request: dict[str, Any], responses: bool) -> aiohttp.ClientResponse:
        model: str = request["model"]
        if not (is_path_segment if self._endpoint.is_azure else is_model_name)(model):
            raise ModelError("model_not_found", "The name of the model is invalid.", retryable=False)
        try:
            headers = await self._endpoint.headers()
            return await self._transport.post(
                self._endpoint.url(model, responses=responses), orjson.dumps(request), headers
            )
        except CredentialsUnavailable as error:
            # Most likely the identity service is away: the job waits, as for a model that is away.
            raise ModelError("model_unauthorized", error.args[0], retryable=True, away=True) from None
        except RedirectNotFollowed as error:
            raise _redirect_error(error) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _connection_error(error) from None

    def _error_of(self, response: aiohttp.ClientResponse, body: bytes, model: str) -> ModelError:
        """Returns the error of a response with an error status."""
        status = response.status
        code, retryable = _CODES.get(status, ("model_error", status >= 500))
        told = _parsed(body)
        blame = Blame()
        if code == "model_unauthorized":
            # The server's own message may quote the key.
            message = f"The model refused our credentials ({status})."
        else:
            reason = _message_of(told) or response.reason or ""
            blame = blame_of(told)
            message = f"The model answered {status}: {self.redactor.redact_excerpt(reason)}"
        return ModelError(
            code,
            message,
            retryable=retryable,
            retry_after=_retry_after(response.headers),
            status=status,
            away=status in AWAY_STATUSES and not _is_quota_exhausted(body),
            refuses=_blames_worker(status, body, model),
            param=blame.param,
            model_code=blame.model_code,
        )

    @property
    def host(self) -> str:
        """Host and port of the model, for people."""
        return self._endpoint.host


async def read_batches(
    pieces: AsyncGenerator[bytes, None],
    chunks: ChunkAccumulator,
    limits: Limits,
    parser_of: type[AnswerParser] = AnswerParser,
) -> AsyncGenerator[Batch, None]:
    """Yields the events of a response body. Raises ModelError after the events before the failure."""
    parser = parser_of(chunks, limits=limits)
    try:
        async for piece in pieces:
            yield parser.feed(piece), len(piece), parser.done
            if parser.failure is not None:
                raise parser.failure
            if parser.done:
                # A connection is reused only after its body has been read to the end.
                async for _ in pieces:
                    pass
                return
    except ModelError as error:
        if error.code != "model_cut" or not chunks.finished:
            raise
    yield parser.close(), 0, parser.done
    if parser.failure is not None:
        raise parser.failure


def _redirect_error(error: RedirectNotFollowed) -> ModelError:
    """Returns the error of a redirect. Mostly the worker's address is wrong."""
    return ModelError(
        "model_redirected",
        f"The model answered {error.args[0]} with a redirect that is not followed.",
        retryable=False,
        status=error.args[0],
        refuses=True,
    )


def _connection_error(error: Exception) -> ModelError:
    """Returns the error of a call without a response."""
    causes = cause_chain(error)
    if any(
        isinstance(cause, aiohttp.ClientResponseError) and not isinstance(cause, aiohttp.ClientHttpProxyError)
        for cause in causes
    ):
        logger.info("the model's answer is not HTTP: %s", type(causes[-1]).__name__)
        # The server is there. Counting it as away would hold up the jobs of its other models.
        return ModelError("model_malformed", "The model's answer is not HTTP.", retryable=True)
    # Aiohttp has errors of their own for a connection that was not made.
    connected = not any(
        isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) for cause in causes
    )
    if any(isinstance(cause, TimeoutError) for cause in causes):
        message = "The model did not answer in time."
        return ModelError("model_timeout", message, retryable=True, away=True, connected=connected)
    logger.info("the model cannot be reached: %s", type(causes[-1]).__name__)
    message = "The model cannot be reached."
    return ModelError("model_unreachable", message, retryable=True, away=True, connected=connected)


def _is_quota_exhausted(body: bytes) -> bool:
    """Returns whether a 429 says that the account's quota is exhausted: waiting does not help."""
    return b"insufficient_quota" in body


def _blames_worker(status: int, body: bytes, model: str) -> bool:
    """Returns whether an error may be the fault of the worker's key or address, and so concern all jobs."""
    if status in (403, 404):
        # A server that names the model has no such model, or not for this key. A wrong address names none.
        text = body.lower()
        return not any(word in text for word in (model.lower().encode(), b"model", b"deployment"))
    return status in (401, 402) or (status == 429 and _is_quota_exhausted(body))


def _parsed(body: bytes) -> Any:
    """Returns an error body: its JSON value, or its text; None for bytes that are neither."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _message_of(told: Any) -> str | None:
    """Returns the message of a parsed error body; None for a page."""
    return None if isinstance(told, str) and told.strip().startswith("<") else server_message(told)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Returns the Retry-After in seconds (RFC 9110, section 10.2.3); None if there is no sensible one."""
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
    """Returns the seconds from `now`, the server's own `Date`, to an HTTP date: our clock may be wrong.

    Returns 0 for a date in the past, and NaN for an invalid one.
    """
    try:
        at = parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return math.nan
    try:
        since = parsedate_to_datetime(now or "").timestamp()
    except (ValueError, OverflowError):
        since = time.time()
    return max(0.0, at - since)
