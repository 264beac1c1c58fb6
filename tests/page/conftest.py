"""The browser's tests are collected where a browser and its driver are on the PATH; otherwise the report says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.page.browser import Browser, missing
from tests.page.site import Site

_MISSING = missing()

collect_ignore = [path.name for path in Path(__file__).parent.glob("test_in_browser*.py")] if _MISSING else []


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


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser, site: Site) -> Iterator[Browser]:
    """Shows a fresh page. Fails the test if the console has complaints afterwards."""
    chromium.go(site.url + "/")
    chromium.complaints()
    yield chromium
    assert not chromium.complaints()
