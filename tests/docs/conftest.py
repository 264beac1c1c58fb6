"""One stack for all blocks that need one."""

from __future__ import annotations

from tests.e2e.conftest import pytest_runtest_makereport, running_stack, stack

__all__ = ["pytest_runtest_makereport", "running_stack", "stack"]
