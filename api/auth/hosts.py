"""Which `Host` names the API serves."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from readalong.api.problems import problem_response

#: Paths that are served under any name: a load balancer's probe may use any.
_PROBES: Final = ("/healthz", "/readyz")
#: Bytes: a name in DNS has at most 253, and a port follows.
_MAX_LENGTH: Final = 260
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#\s]+)(?::[0-9]{0,5})?")


class AllowedHosts:
    """ASGI middleware that refuses a request whose `Host` is not allowed.

    The owner of a name can make it resolve to this machine (DNS rebinding). A browser then treats a page of that name
    and this API as one site, so the page could read and erase every job. Its requests still carry the name. IP
    addresses are not resolved and names below `localhost` never leave the machine, so these are always allowed.
    """

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        """`names`: as `Settings.allowed_hosts`."""
        self._app = app
        self._allow_any = "*" in names
        self._names = frozenset(name.lower() for name in names if not name.startswith("*"))
        self._suffixes = (".localhost", *(name[1:].lower() for name in names if name.startswith("*.")))
        #: Decisions by the header's bytes: each first token waits for one.
        self._is_allowed_cached = lru_cache(256)(self._is_allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._allow_any:
            for name, value in scope["headers"]:
                if (
                    name == b"host"
                    and (len(value) > _MAX_LENGTH or not self._is_allowed_cached(value))
                    and not _is_probe(scope)
                ):
                    await _refusal(value)(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _is_allowed(self, value: bytes) -> bool:
        if (parts := _HOST.fullmatch(value.decode("latin-1"))) is None:
            return False
        host = parts[1].lower()
        if host.startswith("["):
            return _is_address(host[1:-1])
        host = host.removesuffix(".")
        return host == "localhost" or host in self._names or host.endswith(self._suffixes) or _is_address(host)


def _is_probe(scope: Scope) -> bool:
    """Returns whether the path is a probe's, with or without the prefix: a proxy may remove it, a mount keeps it."""
    return scope["path"] in _PROBES or scope["path"].removeprefix(scope.get("root_path", "")) in _PROBES


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _refusal(host: bytes) -> ASGIApp:
    name = host[:_MAX_LENGTH].decode("latin-1")
    detail = f"Host {name!r} is not allowed; READALONG_HOSTS lists the allowed names."
    return problem_response(421, "forbidden_host", detail)
