"""Which names this API answers to."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from readalong.api.problems import respond

#: Paths that any name may ask for: a load balancer's probe bears the name of its target, or a made-up one.
_PROBES: Final = ("/healthz", "/readyz")
#: No name in DNS is longer (253 bytes), with a port behind it.
_LONGEST: Final = 260
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#\s]+)(?::[0-9]{0,5})?")


class AllowedHosts:
    """ASGI middleware that refuses a request for a name which is none of this API's.

    The owner of a name can have it resolve to this machine (DNS rebinding). A browser then takes a page of that name
    and this API for one site: the page may read all and erase all. Its requests still bear the name. An IP address is
    not resolved, and names below `localhost` never leave the machine: these are always allowed.
    """

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        """`names`: as `Settings.allowed_hosts`."""
        self._app = app
        self._any = "*" in names
        self._exact = frozenset(name.lower() for name in names if not name.startswith("*"))
        self._below = (".localhost", *(name[1:].lower() for name in names if name.startswith("*.")))
        #: What was decided, by the header's bytes: a lookup on the way to each first token.
        self._known = lru_cache(256)(self._allows)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._any:
            for name, value in scope["headers"]:
                if name == b"host" and (len(value) > _LONGEST or not self._known(value)) and not _is_probe(scope):
                    await _refusal(value)(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _allows(self, value: bytes) -> bool:
        if (parts := _HOST.fullmatch(value.decode("latin-1"))) is None:
            return False
        host = parts[1].lower()
        if host.startswith("["):
            return _is_address(host[1:-1])
        host = host.removesuffix(".")
        return host == "localhost" or host in self._exact or host.endswith(self._below) or _is_address(host)


def _is_probe(scope: Scope) -> bool:
    """A proxy may leave its prefix at the path or take it off; a mount leaves it."""
    return scope["path"] in _PROBES or scope["path"].removeprefix(scope.get("root_path", "")) in _PROBES


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _refusal(host: bytes) -> ASGIApp:
    name = host[:_LONGEST].decode("latin-1")
    return respond(421, "forbidden_host", f"This API does not answer to {name!r}; READALONG_HOSTS lists its names.")
