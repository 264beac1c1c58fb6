"""Which web pages may make this API do something."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from readalong.core.errors import InvalidRequest
from readalong.core.settings import Settings

#: Methods that change nothing: what they answer a foreign page cannot read.
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: What a browser says of a page of this very site, and of what its user typed.
_OURS: Final = frozenset({"same-origin", "none"})
_PORTS: Final = {"http": 80, "https": 443}


def check_origin(request: Request) -> None:
    """Raises InvalidRequest for a page of another site that the settings do not allow: it would spend its visitor's
    key. What is no browser sends no Origin, and may do anything."""
    if request.method in _SAFE or (origin := request.headers.get("origin")) is None:
        return
    # No page can set this header. It holds also where a proxy does not pass the Host on.
    if request.headers.get("sec-fetch-site") in _OURS:
        return
    settings: Settings = request.app.state.services.settings
    allowed = settings.allowed_origins
    if origin in allowed or "*" in allowed or _is_host(origin, request.headers.get("host", "")):
        return
    raise InvalidRequest(
        f"Pages of {origin} may not do this here; READALONG_ORIGINS lists those that may.", code="forbidden_origin"
    )


def _is_host(origin: str, host: str) -> bool:
    try:
        page, here = urlsplit(origin), urlsplit(f"//{host}")
        default = _PORTS.get(page.scheme)
        # The scheme is not compared: a proxy that ends TLS asks by http.
        return bool(page.hostname) and (page.hostname, page.port or default) == (here.hostname, here.port or default)
    except ValueError:  # a port that is none
        return False
