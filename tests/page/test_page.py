"""The page's files are complete, work offline, obey a strict content security policy, and match the log."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest
from starlette.testclient import TestClient

from readalong.api.app import create_app
from readalong.core.keys import Keys
from readalong.core.settings import Settings

FOLDER = Path(__file__).parents[2] / "api" / "page"
FILES = sorted(path.name for path in FOLDER.iterdir() if path.is_file())
VENDORED = sorted(path.name for path in (FOLDER / "vendor").iterdir() if path.suffix in (".js", ".mjs"))
PAGES = [name for name in FILES if name.endswith(".html")]
SCRIPTS = [name for name in FILES if name.endswith(".js")]
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Tags(HTMLParser):
    """Collects every start tag with its attributes, and the text inside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style") and data.strip():
            self.inline.append(data)


def read(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


def ids() -> set[str]:
    return {attributes["id"] for _, attributes in Tags(read("index.html")).tags if "id" in attributes}


@cache
def client() -> TestClient:
    """The application, without an event loop in this thread, which may have a browser's."""
    return TestClient(create_app(Settings()), base_url="http://localhost")


def get(path: str, headers: dict[str, str] | None = None) -> httpx2.Response:
    return client().get(path, headers=headers)


def test_the_page_is_at_the_root() -> None:
    """Also while Redis is away."""
    reply = get("/")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/html")
    assert re.sub("/@[0-9a-f]{16}/", "/", reply.text) == read("index.html")


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_served_as_what_it_is(name: str) -> None:
    """A browser refuses a module that is not served as JavaScript."""
    reply = get(f"/page/{name}")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith(KINDS[Path(name).suffix])
    assert reply.content == (FOLDER / name).read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_address(name: str) -> None:
    """The page works offline, and tells no other site about its readers."""
    text = read(name).replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert not re.findall(r"""\w+://|["'(]//|@import""", text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_markup_or_code_of_text(name: str) -> None:
    """The model's text stays text."""
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextual|\beval\b|Function\("
    assert not re.findall(forbidden, read(name))


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_inline(name: str) -> None:
    """The page works under a policy that allows only the files beside it."""
    page = Tags(read(name))
    assert not page.inline
    broken = [
        (tag, name)
        for tag, attributes in page.tags
        for name in attributes
        if tag == "style" or name == "style" or name.startswith("on")
    ]
    assert not broken
    assert all(attributes.get("src") for tag, attributes in page.tags if tag == "script")
    # A style that a script sets by the object model is no inline style; one that it sets as an attribute is.
    assert not [name for name in SCRIPTS if re.search(r"setAttribute\(.style|cssText", read(name))]


@pytest.mark.parametrize("path", ["/", "/docs", *(f"/page/{name}" for name in FILES)])
@pytest.mark.parametrize("cached", [False, True])
def test_what_is_served_as_a_page_is_fenced(path: str, cached: bool) -> None:
    """The page loads from its own origin only, no other page can frame it, and no other site gets the id in its
    address."""
    first = get(path)
    reply = get(path, {"If-None-Match": first.headers["etag"]}) if cached else first
    assert reply.status_code == (304 if cached else 200)
    policy = dict(part.strip().split(" ", 1) for part in reply.headers["content-security-policy"].split(";"))
    loads = {"script-src", "style-src", "img-src", "connect-src"}
    shut = {"default-src", "base-uri", "form-action", "frame-ancestors"}
    strings = {"require-trusted-types-for": "'script'", "trusted-types": "dompurify"}
    assert policy == {**dict.fromkeys(loads, "'self'"), **dict.fromkeys(shut, "'none'"), **strings}
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", VENDORED)
def test_each_library_is_the_one_that_is_named(name: str) -> None:
    """A changed byte would be a change that no maker of the library has made. Each is served as JavaScript."""
    table = (FOLDER / "vendor" / "README.md").read_text("utf-8")
    row = next(line for line in table.splitlines() if line.startswith(f"| `{name}`"))
    assert f"`{hashlib.sha256((FOLDER / 'vendor' / name).read_bytes()).hexdigest()}`" in row
    licence = re.search(r"`(LICENSE\.\w+)`", row)
    text = (FOLDER / "vendor" / (licence[1] if licence else name)).read_text("utf-8")
    assert re.search("licen[sc]e", text, re.IGNORECASE)
    reply = get(f"/page/vendor/{name}")
    assert reply.headers["content-type"].startswith("text/javascript")
    assert reply.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/docs", "/inspect"])
def test_a_page_names_all_that_it_needs_at_first(path: str) -> None:
    """What a named module imports would cost a slow network one more trip, as would a seventh file: a browser opens six
    connections. All are kept for ever, so that a page which comes back asks for its HTML alone."""
    tags = [attributes for tag, attributes in Tags(get(path).text).tags if tag in ("link", "script")]
    named = {f"/{tag.get('src') or tag['href']}" for tag in tags}
    assert len(named) <= 6
    for address in named:
        reply = get(address)
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert get(re.sub("@[0-9a-f]{16}", "@0123456789abcdef", address)).headers["cache-control"] == "no-cache"
        found = re.findall(r"""^import (?:[^"']*? from )?["'](\.[^"']+)["'];""", reply.text, re.MULTILINE)
        assert {urljoin(address, name) for name in found if address.endswith("js")} <= named


def test_every_file_and_id_that_is_named_exists() -> None:
    """A misspelt module or id would show only when the code reaches it."""
    page = Tags(read("index.html") + read("docs.html"))
    linked = {value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")}
    linked = {name.replace(".joined.", ".") for name in linked if "/vendor/" not in name}
    assert {name.removeprefix("page/") for name in linked} <= {*FILES, "openapi.json", "inspect", "docs"}
    used = {name for script in SCRIPTS for name in re.findall(r'(?:\$|\bsetText)\("([^"]+)"', read(script))}
    assert used
    assert used <= ids()


def test_every_field_has_a_label() -> None:
    """Screen readers read the label."""
    page = Tags(read("index.html"))
    labelled = {attributes["for"] for tag, attributes in page.tags if tag == "label"}
    assert {attributes["id"] for tag, attributes in page.tags if tag in ("input", "textarea")} == labelled
    described = {attributes["aria-describedby"] for _, attributes in page.tags if "aria-describedby" in attributes}
    assert described <= ids()


def test_the_redis_line_names_the_jobs_channel() -> None:
    """The line can be pasted into a terminal."""
    channel = Keys().live("${id}")
    assert f"redis-cli --raw subscribe '{channel}'" in read("status-bar.js")


def test_the_page_is_small() -> None:
    """No build step makes it smaller. The libraries are those that are loaded at once."""
    docs = [name for name in FILES if name.startswith("docs.")]
    assert sum((FOLDER / name).stat().st_size for name in FILES if name not in docs) < 75_000
    assert sum((FOLDER / "vendor" / name).stat().st_size for name in ("marked.esm.js", "purify.min.js")) < 90_000
    assert sum((FOLDER / name).stat().st_size for name in docs) < 12_000
