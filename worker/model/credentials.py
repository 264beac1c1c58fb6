"""Where the model is and what opens it, from the openai package's own variables or from a function of the user's.

Each is looked at before it is used: a key that no header can hold would otherwise fail every job, and with the
library's words for it.
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
from readalong.worker.model.python_path import function_at, place_of

logger = logging.getLogger(__name__)

_KEYS: Final = (
    "OPENAI_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "AZURE_OPENAI_AD_TOKEN",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
)
_ADDRESSES: Final = ("OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT")
#: Variables whose values a provider of the user's own may tell.
_SECRET_NAMES: Final = re.compile(r"(^|_)(KEYS?|TOKENS?|SECRETS?|PASSWORDS?|PASSWD|CREDENTIALS?)$")
_SHORTEST_SECRET: Final = 8
#: Seconds that READALONG_CREDENTIALS may take.
_LONGEST_ASKED: Final = 30.0
#: Letters from which on a user's name beside a password is a secret too: shorter ones are words.
_SECRET_USER: Final = 8

#: Longest name of a model, in bytes.
_LONGEST_NAME: Final = 1024
#: What no part of a path may hold, also where a server reads its escapes.
_NO_PART: Final = re.compile(r"[/\\?#%\x00-\x1f\x7f-\x9f]|^\.{1,2}$")

_QUOTES: Final = "\"'`"
#: What a header and an address may hold: printable ASCII without blanks.
_PLAIN: Final = re.compile(r"[!-~]+")


def variable(name: str) -> str | None:
    """The variable without the blanks around it; None if it is not set. Raises BadSettings, which does not tell it."""
    value = os.environ.get(name, "").strip()
    if not value:
        return None
    if any(quote in value for quote in _QUOTES):
        raise BadSettings(f"{name}: has quotes in it; set it without them")
    if not _PLAIN.fullmatch(value):
        raise BadSettings(f"{name}: has a line break, a blank or a character in it that no HTTP header may hold")
    return value


def address(name: str) -> str | None:
    """The variable, an http:// or https:// address; None if it is not set. Raises BadSettings."""
    value = variable(name)
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise BadSettings(f"{name}: must be an address with a scheme and a host, such as http://127.0.0.1:8000/v1")
    return value


class NoCredentials(Exception):
    """READALONG_CREDENTIALS gave none. Its argument says why, without any text of the function's."""


def configured() -> bool:
    """Whether the environment names a model server or a key for one."""
    return any(os.environ.get(name, "").strip() for name in ("OPENAI_API_KEY", *_ADDRESSES))


def asked_anew(path: str, learn: Callable[[str], None]) -> Callable[[], Awaitable[str]]:
    """Returns what asks the function at `path` for a key, which `learn` is told. It raises NoCredentials.

    Raises BadSettings.
    """
    function = function_at("READALONG_CREDENTIALS", path)

    async def ask() -> str:
        try:
            async with asyncio.timeout(_LONGEST_ASKED):
                key = await _call(function)
        except Exception as error:
            logger.error("READALONG_CREDENTIALS: %s raised %s", path, place_of(error))
            raise NoCredentials(f"READALONG_CREDENTIALS raised {type(error).__name__}.") from None
        if not isinstance(key, str) or not _PLAIN.fullmatch(key):
            logger.error("READALONG_CREDENTIALS: %s returned no key that a header can hold", path)
            raise NoCredentials("READALONG_CREDENTIALS returned no key that a header can hold.")
        learn(key)
        return key

    return ask


async def _call(function: Callable[[], Any]) -> Any:
    """Calls a function that waits in a thread, so that streams go on meanwhile."""
    value = function() if inspect.iscoroutinefunction(function) else await asyncio.to_thread(function)
    return await value if inspect.isawaitable(value) else value


def secrets_of_environment() -> Iterator[str]:
    """The values of all variables that are named like secrets. Shorter ones are words, such as `true`."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAMES.search(name.upper()):
            yield value


def secrets(addresses: Iterable[str]) -> Iterator[str]:
    """The keys, and what stands in the address of the model, and in these of proxies, to open it."""
    yield from (value for name in _KEYS if (value := variable(name)))
    own = (value for name in _ADDRESSES if (value := variable(name)))
    for one in (*own, *addresses):
        parts = urlsplit(one)
        yield from (value for _, value in parse_qsl(parts.query))
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        for secret in (user if not password or len(user) >= _SECRET_USER else "", password):
            yield from {secret, unquote(secret)} - {""}
        if password:
            yield f"{unquote(user)}:{unquote(password)}"


def fits_json(model: str) -> bool:
    """Whether a model can be called so in a request's body."""
    try:
        return len(model.encode()) <= _LONGEST_NAME
    except UnicodeEncodeError:
        return False


def fits_a_path(model: str) -> bool:
    """Whether a model's name can be one part of an address's path, and stays there."""
    return fits_json(model) and _NO_PART.search(model) is None
