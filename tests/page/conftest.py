"""The browser's tests are collected where a browser and its driver are on the PATH, and the report says if not."""

from __future__ import annotations

from tests.page.browser import missing

_MISSING = missing()

collect_ignore = ["test_in_browser.py"] if _MISSING else []


def pytest_report_collectionfinish() -> str:
    if _MISSING:
        return f"page: not tested in a browser, there is no {' and no '.join(_MISSING)} on the PATH"
    return "page: tested in a browser too"
