"""Which sites' pages may change something through the API."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from readalong.core.errors import InvalidRequest
from readalong.core.settings import Settings

#: Methods that change nothing. A page of another site cannot read their responses.
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: Sec-Fetch-Site of a page of this very site, and of an address that the user typed.
SAME_SITE: Final = frozenset({"same-origin", "none"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def check_origin(request: Request) -> None:
    """Raises InvalidRequest for a page of another site that the settings do not allow: it would spend its visitor's
    key. Clients other than browsers send no Origin and are not restricted."""
    if request.method in _SAFE or (origin := request.headers.get("origin")) is None:
        return
    # No page can set this header. It is also right where a proxy does not pass the Host on.
    if request.headers.get("sec-fetch-site") in SAME_SITE:
        return
    settings: Settings = request.app.state.settings
    allowed = settings.allowed_origins
    if origin in allowed or "*" in allowed or _is_host(origin, request.headers.get("host", "")):
        return
    raise InvalidRequest(
        f"Origin {origin} is not allowed; READALONG_ORIGINS lists the allowed origins.", code="forbidden_origin"
    )


def _is_host(origin: str, host: str) -> bool:
    try:
        page, here = urlsplit(origin), urlsplit(f"//{host}")
        default = _DEFAULT_PORTS.get(page.scheme)
        # The scheme is not compared: behind a proxy that ends TLS, requests arrive by http.
        return bool(page.hostname) and (page.hostname, page.port or default) == (here.hostname, here.port or default)
    except ValueError:  # an invalid port
        return False
