"""The browser's tests are collected where a browser is on the PATH; otherwise the report says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.page.browser import Visitors, chromium, missing
from tests.page.site import Site

_MISSING = missing()

collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("test_*.py")
    if _MISSING and path.name != "test_page.py" and "browser" in path.read_text("utf-8")
]


def pytest_report_collectionfinish(config: pytest.Config) -> str:
    if config.option.markexpr == "not slow":
        return "page: not tested in a browser, which is left to make test-all"
    if _MISSING:
        return f"page: not tested in a browser, there is no {' and no '.join(_MISSING)} on the PATH"
    return "page: tested in a browser too"


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for each module, which may have no async test: Playwright's loop runs in this thread."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def visitors(browser: Browser) -> Iterator[Visitors]:
    """Opens further pages, each in a context of its own. Fails the test if a console has complaints afterwards."""
    visitors = Visitors(browser)
    try:
        yield visitors
    finally:
        visitors.close()
    assert not visitors.complaints


@pytest.fixture
def page(visitors: Visitors, site: Site) -> Page:
    """A fresh page of the site."""
    return visitors.open(site.url + "/")
