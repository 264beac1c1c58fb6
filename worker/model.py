"""The OpenAI-compatible model: one raw stream a call, its errors translated.

The SDK says where and with which headers a call goes, once for each model; the calls are its HTTP client's. The bytes
are read raw and parsed by `worker.chunks`: the SDK's way of a call and its chunk objects cost several times the CPU
(docs/decisions/0003-raw-model-stream.md).
"""

from __future__ import annotations

import math
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import aiohttp
import httpx2
import openai
import orjson
from openai import AsyncAzureOpenAI, AsyncOpenAI
from openai._models import FinalRequestOptions

from readalong.errors import BadSettings, ModelError
from readalong.settings import Settings
from worker.body import events_of, start_of
from worker.credentials import address, fits_a_path, fits_json, secrets, variable
from worker.limits import Limits
from worker.reasons import AWAY, reason
from worker.redaction import Redactor
from worker.transport import AiohttpTransport, Redirected

#: Bytes of a refusal that are read for its reason.
_LONGEST_REASON: Final = 65_536
#: Models whose calls' addresses are kept: clients may name any.
_MOST_MODELS: Final = 100

#: Where OpenAI is: the SDK would take an OPENAI_BASE_URL that is blank for an address.
_OPENAI: Final = "https://api.openai.com/v1"

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
        transport = AiohttpTransport(connect_timeout=settings.connect_timeout)
        self._client, self._http = _clients(transport)
        self.redactor = Redactor(secrets(transport.proxies.values()))
        self._longest = Limits.of(settings).line
        #: Of each model what the SDK would send, but for the body.
        self._made: dict[str, httpx2.Request] = {}

    @asynccontextmanager
    async def stream(self, request: dict[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
        """Calls the model and yields its answer's body in pieces: SSE, or one JSON document in an SSE frame.

        Leaving the block closes the connection, so that the model stops generating. Raises ModelError.
        """
        try:
            response = await self._http.send(await self._request(request), stream=True)
        except Redirected as error:
            raise _redirected(error) from None
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError) as error:
            raise _unreached(error) from None
        try:
            async with aclosing(response):
                if not response.is_success:
                    raise self._refusal(response, await start_of(response, _LONGEST_REASON), request["model"])
                # A generator that is left half read would be closed some time later, by a task of its own.
                async with aclosing(events_of(response, self.redactor.text, self._longest)) as pieces:
                    yield pieces
        except (httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError) as error:
            root = type(_causes(error)[-1]).__name__
            raise ModelError("model_cut", f"The model broke off: {root}.", retryable=True) from None

    async def close(self) -> None:
        await self._client.close()

    async def _request(self, body: dict[str, Any]) -> httpx2.Request:
        """The SDK's request around a body that goes out as it came. Raises ModelError for a model that no address and
        no JSON can name."""
        made = self._made.get(body["model"])
        if made is None:
            if not self._can_name(body["model"]):
                raise ModelError("model_not_found", "No model can have this name.", retryable=False)
            options = FinalRequestOptions.construct(
                method="post",
                url="/chat/completions",
                # Azure makes the deployment's path of it.
                json_data={"model": body["model"]},
                security={"bearer_auth": True},
            )
            made = self._client._build_request(await self._client._prepare_options(options))
            del made.headers["content-length"]
            if user := made.url.userinfo:
                # In an address it would be in logs; beside a header of its own it is refused.
                made.headers["authorization"] = "Basic " + b64encode(unquote_to_bytes(user)).decode()
                made.url = made.url.copy_with(username=None, password=None)
            if len(self._made) >= _MOST_MODELS:
                self._made.clear()
            self._made[body["model"]] = made
        content = orjson.dumps(body)
        return httpx2.Request(made.method, made.url, headers=made.headers, content=content, extensions=made.extensions)

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
            message = f"The model answered {status}: {self.clean(_reason(body) or response.reason_phrase)}"
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

    def clean(self, message: str) -> str:
        """The message, without our keys should the server quote one, and then shortened."""
        return self.redactor.shown(message)

    def cleaned(self, error: ModelError) -> ModelError:
        """The error with a clean message, for watchers and logs."""
        return ModelError(
            error.code,
            self.clean(error.message),
            retryable=error.retryable,
            retry_after=error.retry_after,
            status=error.status,
            away=error.away,
            refuses=error.refuses,
        )


def _clients(transport: AiohttpTransport) -> tuple[AsyncOpenAI, httpx2.AsyncClient]:
    """The SDK's client, and the HTTP client in it, which sends nothing to another origin. Raises BadSettings."""
    try:
        http_client = httpx2.AsyncClient(
            transport=transport,
            timeout=None,
            # No server's cookies are kept.
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        )
        # Retries are ours: they end with the first token, obey the cancel flag, and count against the job's time.
        common: dict[str, Any] = {
            "max_retries": 0,
            "timeout": None,
            "http_client": http_client,
            "organization": variable("OPENAI_ORG_ID"),
            "project": variable("OPENAI_PROJECT_ID"),
        }
        endpoint = address("AZURE_OPENAI_ENDPOINT")
        if endpoint:
            key, token = variable("AZURE_OPENAI_API_KEY"), variable("AZURE_OPENAI_AD_TOKEN")
            version = variable("OPENAI_API_VERSION")
            if not (key or token):
                raise BadSettings("AZURE_OPENAI_API_KEY: not set, nor AZURE_OPENAI_AD_TOKEN")
            if not version:
                raise BadSettings("OPENAI_API_VERSION: not set, such as 2024-10-21")
            azure = AsyncAzureOpenAI(
                **common, azure_endpoint=endpoint, api_key=key, azure_ad_token=token, api_version=version
            )
            return azure, http_client
        key, base_url = variable("OPENAI_API_KEY"), address("OPENAI_BASE_URL")
        if not key and not base_url:
            raise BadSettings(
                "OPENAI_API_KEY: not set; set it, or OPENAI_BASE_URL for a server without keys, "
                "or AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY"
            )
        # vLLM, Ollama and others take any key, but the SDK wants one.
        return AsyncOpenAI(**common, api_key=key or "none", base_url=base_url or _OPENAI), http_client
    except (openai.OpenAIError, ValueError, httpx2.InvalidURL) as error:
        raise BadSettings(str(error).replace("\n", " ")) from None


def _causes(error: BaseException) -> list[BaseException]:
    """The error, its cause, and so on; what was raised first is the last."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    return causes


def _redirected(error: Redirected) -> ModelError:
    """The address is no model's, mostly: then it is the worker's fault."""
    return ModelError(
        "model_redirected",
        f"The model answered {error.args[0]} with a redirect that is not followed.",
        retryable=False,
        status=error.args[0],
        refuses=True,
    )


def _unreached(error: Exception) -> ModelError:
    """Why no answer began."""
    if isinstance(error, aiohttp.ClientResponseError) and not isinstance(error, aiohttp.ClientHttpProxyError):
        # It is there, and answers this call so: to take it for away would keep the jobs of its other models.
        return ModelError("model_malformed", "The model's answer is no HTTP.", retryable=True)
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
