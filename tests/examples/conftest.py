"""One stack for all examples. That of a page is collected where a browser is on the PATH."""

from __future__ import annotations

from tests.e2e.conftest import pytest_runtest_makereport, running_stack, stack
from tests.page.browser import missing

collect_ignore = ["test_page.py"] if missing() else []

__all__ = ["pytest_runtest_makereport", "running_stack", "stack"]
