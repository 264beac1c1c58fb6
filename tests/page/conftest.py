"""The browser's tests are collected where a browser is on the PATH; otherwise the report says so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.clients.node_chat import install
from tests.page.browser import Tabs, Visitors, chromium, missing
from tests.page.site import Site
from tests.page.way import Way

_MISSING = missing()
#: axe comes with the packages of Node.
_NO_NODE = [name for name in ("node", "npm") if shutil.which(name) is None]

collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("test_*.py")
    if (_MISSING and "tests.page.browser" in path.read_text("utf-8"))
    or (_NO_NODE and "tests.page.axe" in path.read_text("utf-8"))
]


def pytest_report_collectionfinish(config: pytest.Config) -> str:
    if config.option.markexpr == "not slow":
        return "page: not tested in a browser, which is left to make test-all"
    if _MISSING:
        return f"page: not tested in a browser, there is no {' and no '.join(_MISSING)} on the PATH"
    if _NO_NODE:
        return f"page: tested in a browser without axe, since there is no {' and no '.join(_NO_NODE)} on the PATH"
    return "page: tested in a browser too"


@pytest.fixture(scope="session")
def node_packages() -> None:
    """The packages of `tests/clients/node/package-lock.json`."""
    install()


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One for this package, which may have no async test: Playwright's loop runs in this thread."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def tabs(browser: Browser) -> Tabs:
    """The tabs of all visitors who need no profile of their own. The page keeps nothing in it but its files."""
    return Tabs(browser)


@pytest.fixture
def visitors(browser: Browser, tabs: Tabs) -> Iterator[Visitors]:
    """Opens further pages. Fails the test if a console has complaints afterwards."""
    visitors = Visitors(browser, tabs)
    try:
        yield visitors
    finally:
        visitors.close()
    assert not visitors.complaints


@pytest.fixture
def page(visitors: Visitors, site: Site) -> Page:
    """A fresh page of the site."""
    return visitors.open(site.url + "/")


@pytest.fixture
def way(site: Site) -> Iterator[Way]:
    """A network before the site."""
    with Way(site) as way:
        yield way
