"""Reads the model's address and key from the openai package's variables, or from a function of the user's.

Each value is validated when the worker starts: a key that no header can hold would otherwise fail every job.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from readalong.core.errors import BadSettings
from readalong.worker.model.import_path import error_location, import_function

logger = logging.getLogger(__name__)

_KEYS: Final = (
    "OPENAI_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "AZURE_OPENAI_AD_TOKEN",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
)
_ADDRESSES: Final = ("OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT")
#: Seconds that READALONG_CREDENTIALS may take.
_KEY_TIMEOUT: Final = 30.0
#: Shortest user name beside a password that counts as a secret: shorter ones are words.
_MIN_SECRET_USER: Final = 8

#: Longest name of a model, in bytes.
_MAX_NAME_BYTES: Final = 1024
#: What a path segment must not hold, even where a server decodes its escapes.
_NOT_IN_SEGMENT: Final = re.compile(r"[/\\?#%\x00-\x1f\x7f-\x9f]|^\.{1,2}$")

_QUOTES: Final = "\"'`"
#: What a header or an address may hold: printable ASCII without blanks.
_PRINTABLE: Final = re.compile(r"[!-~]+")


def env_value(name: str) -> str | None:
    """Returns the variable without surrounding blanks; None if unset. Raises BadSettings, which omits the value."""
    value = os.environ.get(name, "").strip()
    if not value:
        return None
    if any(quote in value for quote in _QUOTES):
        raise BadSettings(f"{name}: has quotes in it; set it without them")
    if not _PRINTABLE.fullmatch(value):
        raise BadSettings(f"{name}: has a line break, a blank or a character in it that no HTTP header may hold")
    return value


def env_address(name: str) -> str | None:
    """Returns the variable, an http:// or https:// address; None if unset. Raises BadSettings."""
    value = env_value(name)
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        # No call could look up a host with an empty or too long label.
        host = (parts.hostname or "").encode("idna")
        fits = parts.scheme in ("http", "https") and bool(host) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise BadSettings(f"{name}: must be an address with a scheme and a host, such as http://127.0.0.1:8000/v1")
    return value


class CredentialsUnavailable(Exception):
    """READALONG_CREDENTIALS returned no key. The argument says why, without any text of the function's."""


def is_configured() -> bool:
    """Returns whether the environment names a model server or a key."""
    return any(os.environ.get(name, "").strip() for name in ("OPENAI_API_KEY", *_ADDRESSES))


def key_source(path: str, on_key: Callable[[str], None]) -> Callable[[], Awaitable[str]]:
    """Returns a function that gets a key from the function at `path`, and calls `on_key` with it. Raises BadSettings.

    The returned function raises CredentialsUnavailable.
    """
    function = import_function("READALONG_CREDENTIALS", path)

    async def get_key() -> str:
        try:
            async with asyncio.timeout(_KEY_TIMEOUT):
                key = await _call(function)
        except Exception as error:
            logger.error("READALONG_CREDENTIALS: %s raised %s", path, error_location(error))
            raise CredentialsUnavailable(f"READALONG_CREDENTIALS raised {type(error).__name__}.") from None
        if not isinstance(key, str) or not _PRINTABLE.fullmatch(key):
            logger.error("READALONG_CREDENTIALS: %s returned no key that a header can hold", path)
            raise CredentialsUnavailable("READALONG_CREDENTIALS returned no key that a header can hold.")
        on_key(key)
        return key

    return get_key


async def _call(function: Callable[[], Any]) -> Any:
    """Calls a function, in a thread unless it is a coroutine function: it must not block the streams."""
    value = function() if inspect.iscoroutinefunction(function) else await asyncio.to_thread(function)
    return await value if inspect.isawaitable(value) else value


def secrets(addresses: Iterable[str]) -> Iterator[str]:
    """Yields the keys, and the users, passwords and query values in the model's and the proxies' addresses."""
    yield from (value for name in _KEYS if (value := env_value(name)))
    own = (value for name in _ADDRESSES if (value := env_value(name)))
    for address in (*own, *addresses):
        parts = urlsplit(address)
        yield from (value for _, value in parse_qsl(parts.query))
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        for secret in (user if not password or len(user) >= _MIN_SECRET_USER else "", password):
            yield from {secret, unquote(secret)} - {""}
        if password:
            yield f"{unquote(user)}:{unquote(password)}"


def is_model_name(model: str) -> bool:
    """Returns whether a request's body can carry this name of a model."""
    try:
        return len(model.encode()) <= _MAX_NAME_BYTES
    except UnicodeEncodeError:
        return False


def is_path_segment(model: str) -> bool:
    """Returns whether a model's name can be one segment of a path, and cannot leave it."""
    return is_model_name(model) and _NOT_IN_SEGMENT.search(model) is None
