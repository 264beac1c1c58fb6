"""One stack for all clients. Those of Node are collected where it is on the PATH, pages where a browser is
too, and the report says if not."""

from __future__ import annotations

import shutil

import pytest

from tests.clients.node_chat import install
from tests.e2e.conftest import pytest_runtest_makereport, running_stack, stack
from tests.page.browser import missing

__all__ = ["pytest_runtest_makereport", "running_stack", "stack"]

_MISSING = [name for name in ("node", "npm") if shutil.which(name) is None]

_MISSING_FOR_PAGES = [*_MISSING, *missing()]

collect_ignore = [
    *(
        ["test_ag_ui.py", "test_ai_sdk.py", "test_durable_streams.py", "test_js_client.py", "test_openai_node.py"]
        if _MISSING
        else []
    ),
    *(["test_js_client_page.py", "test_js_conformance.py", "test_react_page.py"] if _MISSING_FOR_PAGES else []),
]


def pytest_report_collectionfinish(config: pytest.Config) -> str:
    if config.option.markexpr == "not slow":
        return "clients: left to make test-all"
    if _MISSING:
        return f"clients: none of Node's, since there is no {' and no '.join(_MISSING)} on the PATH"
    if _MISSING_FOR_PAGES:
        return f"clients: no page, since there is no {' and no '.join(_MISSING_FOR_PAGES)} on the PATH"
    return "clients: tested with those of Node and a page too"


@pytest.fixture(scope="session")
def node_packages() -> None:
    """The packages of `node/package-lock.json`."""
    install()
