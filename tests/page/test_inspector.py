"""The inspector's files are complete, work offline, and obey a strict content security policy."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from readalong.api.app import create_app
from readalong.core.settings import Settings

FOLDER = Path(__file__).parents[2] / "api" / "page" / "inspect"
FILES = sorted(path.name for path in FOLDER.iterdir())
SCRIPTS = [name for name in FILES if name.endswith(".js")]
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


def read(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


@cache
def client() -> TestClient:
    """The application, without an event loop in this thread, which may have a browser's."""
    return TestClient(create_app(Settings()), base_url="http://localhost")


def get(path: str) -> httpx2.Response:
    return client().get(path)


@pytest.mark.parametrize("path", ["/inspect", *(f"/page/inspect/{name}" for name in FILES)])
def test_each_file_is_served_and_fenced(path: str) -> None:
    """Also while Redis is away, which the page then says. No other site frames it or is told a job's id."""
    name = "index.html" if path == "/inspect" else Path(path).name
    reply = get(path)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith(KINDS[Path(name).suffix])
    assert re.sub("/@[0-9a-f]{16}/", "/", reply.text) == read(name)
    policy = reply.headers["content-security-policy"]
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= {
        part.strip() for part in policy.split(";")
    }
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_address_or_makes_markup_of_text(name: str) -> None:
    """The page works offline, and ids, models and metadata stay text."""
    text = read(name).replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert not re.findall(r"""\w+://|["'(]//|@import""", text)
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextual|\beval\b|Function\("
    assert not re.findall(forbidden, text)


def test_nothing_is_inline() -> None:
    """The page works under a policy that allows only the files beside it."""
    page = read("index.html")
    assert not re.findall(r"<style|\sstyle=|\son[a-z]+=", page)
    assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="page/inspect/main.joined.js">']


def test_every_file_and_id_that_is_named_exists() -> None:
    """A misspelt module or id would show only when the code reaches it."""
    page = read("index.html")
    code = "".join(map(read, SCRIPTS))
    imported = set(re.findall(r'from "\./([^"]+)"', code))
    linked = set(re.findall(r'(?:src|href)="page/inspect/([^"]+)"', page))
    assert imported | {name.replace(".joined.", ".") for name in linked} <= set(FILES)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    named = set(re.findall(r'\$\("([^"]+)"\)', code))
    referred = set(re.findall(r'(?:for|aria-labelledby|aria-describedby|list)="([^"]+)"', page))
    assert named
    assert named | referred <= set(ids)


def test_every_field_has_a_label() -> None:
    """Screen readers read the label."""
    page = read("index.html")
    fields = re.findall(r'<(?:input|select|textarea) id="([^"]+)"', page)
    assert fields
    assert set(fields) <= set(re.findall(r'<label for="([^"]+)"', page))


def test_the_files_are_small() -> None:
    """No build step makes them smaller, and a file over 400 lines is two."""
    assert sum((FOLDER / name).stat().st_size for name in FILES) < 130_000
    assert not [name for name in FILES if read(name).count("\n") > 400]
