"""The documentation as a site: each page is in its menu, each link leads somewhere, all comes from the disk."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from playwright.sync_api import Request

from tests.docs import pictures
from tests.docs.site import ROOT, TOOL, build
from tests.page.browser import Visitors, chromium, missing

DOCS = ROOT / "docs"
_needs_tool = pytest.mark.skipif(not TOOL.exists(), reason="make test-all could not make .venv-docs")


def _listed(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for part in nav.values():
            yield from _listed(part)
    elif isinstance(nav, list):
        for part in nav:
            yield from _listed(part)


def test_every_page_is_in_the_menu_once() -> None:
    listed = sorted(_listed(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]))
    assert listed == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_a_picture_is_as_its_steps_say(name: str) -> None:
    """`make docs` draws it anew."""
    assert (pictures.FOLDER / f"{name}.svg").read_text("utf-8") == pictures.picture(name)


def test_the_vendored_file_is_the_listed_one() -> None:
    vendor = Path(__file__).parent / "vendor"
    (listed,) = re.findall(r"`([0-9a-f]{64})`", (vendor / "README.md").read_text("utf-8"))
    assert hashlib.sha256((vendor / "iframe-worker.js").read_bytes()).hexdigest() == listed


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    build(folder)
    return folder


@pytest.mark.slow
@_needs_tool
def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    pages = {page.resolve(): page.read_text("utf-8") for page in site.rglob("*.html") if page.name != "404.html"}
    assert len(pages) == len(list(DOCS.rglob("*.md")))
    broken = []
    for page, text in pages.items():
        for link in re.findall(r"(?:href|src)=\"?([^\"\s>]+)", text):
            path, _, anchor = unquote(link).partition("#")
            if re.match(r"[a-z]+:|//", path):
                continue
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and target in pages and not _has(pages[target], anchor)):
                broken.append(f"{page.relative_to(site.resolve())}: {link}")
    assert broken == []


@pytest.mark.slow
@_needs_tool
def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    found = []
    for page in site.rglob("*.html"):
        for tag in re.findall(
            r"<(?:audio|embed|iframe|img|link|object|script|source|video)\b[^>]*>", page.read_text("utf-8")
        ):
            if re.search(r"(?:src|href|data|srcset)=\"?(?:https?:)?//", tag) and "canonical" not in tag:
                found.append(f"{page.relative_to(site)}: {tag}")
    assert found == []


def _has(page: str, anchor: str) -> bool:
    return re.search(rf"id=\"?{re.escape(anchor)}[\" >]", page) is not None


@pytest.mark.slow
@_needs_tool
@pytest.mark.skipif(bool(missing()), reason="there is no browser on the PATH")
def test_it_works_from_the_disk_and_asks_no_other_site(site: Path) -> None:
    """Pages with code, tables and pictures are opened; the search finds a setting."""
    requests: list[str] = []

    def hear(request: Request) -> None:
        requests.append(request.url)

    with chromium() as browser:
        visitors = Visitors(browser)
        page = visitors.open((site / "index.html").as_uri())
        page.context.on("request", hear)
        for name in ("how-it-works", "configuration", "protocol"):
            (path,) = (each for each in site.rglob("*.html") if name in (each.stem, each.parent.name))
            page.goto(path.as_uri())
        page.goto((site / "index.html").as_uri())
        page.keyboard.press("/")
        page.keyboard.type("READALONG_LEASE")
        page.get_by_text(re.compile(r"^[1-9]\d* results")).wait_for()
        visitors.close()
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert not visitors.complaints
