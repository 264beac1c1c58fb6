"""The files of the pages, under addresses that change with them: a page that comes back asks for its HTML alone."""

from __future__ import annotations

import hashlib
import os
import re
from functools import cache
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
from starlette.types import Scope

from readalong.api.page_modules import join_modules

_PAGE: Final = Path(__file__).parent / "page"
#: The folder of the JavaScript client: in the repository where npm packs it, in a wheel among the page's files.
_CLIENT: Final = next(
    folder for folder in (_PAGE.resolve().parents[1] / "clients/js", _PAGE) if (folder / "readalong.js").exists()
)
#: Headers of the pages and of the files that they load.
_HEADERS: Final = {
    # Text that becomes markup by mistake can run nothing, and no other site can frame the page to lure a click.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # Only the sanitizer may make markup of a string.
    "require-trusted-types-for 'script'; trusted-types dompurify",
    "x-content-type-options": "nosniff",
    # A link to a job holds its id, which is its only key.
    "referrer-policy": "no-referrer",
}
# Without it a browser would mix old and new modules after an upgrade.
_FRESH: Final = {"cache-control": "no-cache"}
_FOREVER: Final = {"cache-control": "public, max-age=31536000, immutable"}
#: `main.joined.js` is `main.js` with all that it imports.
_JOINED: Final = ".joined.js"
_VERSIONED: Final = re.compile(r"@[0-9a-f]{16}/")


class PageFiles(StaticFiles):
    """The page's files and the JavaScript client, with the headers of pages.

    Each file is there under its own path, and below `@VERSION/`, where a browser may keep it for ever. A file of
    another version is asked for while the API is being upgraded: it gets this one's, to be used once.
    """

    def __init__(self) -> None:
        super().__init__(directory=_PAGE)
        self._client = StaticFiles(directory=_CLIENT)

    async def get_response(self, path: str, scope: Scope) -> Response:
        kept = path.startswith(f"@{version()}/")
        path = _VERSIONED.sub("", path, count=1) if _VERSIONED.match(path) else path
        name = path.removesuffix(_JOINED)
        if name != path and scope["method"] in ("GET", "HEAD") and _source(f"{name}.js"):
            response = _answer(_joined(f"{name}.js"), "text/javascript", Request(scope))
        else:
            response = await super().get_response(path, scope)
        response.headers.update({**_HEADERS, **(_FOREVER if kept else _FRESH)})
        return response

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        if _is_client(path):
            return self._client.lookup_path(path)
        return super().lookup_path(path)


def page_response(name: str, request: Request) -> Response:
    """Returns a page of HTML, which names its files by their version."""
    response = _answer(_html(name), "text/html", request)
    response.headers.update({**_HEADERS, **_FRESH})
    return response


@cache
def version() -> str:
    """Returns a hash of all files."""
    digest = hashlib.sha256()
    client = (_CLIENT / "readalong.js", *(_CLIENT / "readalong").glob("*.js"))
    for path in sorted({*client, *(path for path in _PAGE.rglob("*.*") if path.is_file())}):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _html(name: str) -> bytes:
    text = (_PAGE / name).read_text("utf-8")
    return re.sub(r'\b(src|href)="page/', rf'\1="page/@{version()}/', text).encode()


@cache
def _joined(name: str) -> bytes:
    return join_modules(name, _read, lambda path: path.startswith("vendor/")).encode()


def _read(name: str) -> str:
    path = _source(name)
    if path is None:
        raise ValueError(f"there is no module {name}")
    return path.read_text("utf-8")


def _source(name: str) -> Path | None:
    """Returns the file of a module of ours, or None."""
    if not re.fullmatch(r"[\w-]+(/[\w-]+)?\.js", name):
        return None
    path = (_CLIENT if _is_client(name) else _PAGE) / name
    return path if path.is_file() else None


def _is_client(path: str) -> bool:
    return Path(path).parts[:1] in (("readalong.js",), ("readalong",))


def _answer(body: bytes, media_type: str, request: Request) -> Response:
    response = Response(body, media_type=media_type)
    response.headers["etag"] = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == response.headers["etag"]:
        return NotModifiedResponse(response.headers)
    return response
