"""One stack for all clients. Those of Node are collected where it is on the PATH, pages where a browser is
too, and the report says if not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.clients.node_chat import install
from tests.e2e.conftest import healed
from tests.page.browser import missing
from tests.support.stack import Stack

_MISSING = [name for name in ("node", "npm") if shutil.which(name) is None]

_MISSING_FOR_PAGES = [*_MISSING, *missing()]

collect_ignore = [
    *(["test_ai_sdk.py", "test_openai_node.py"] if _MISSING else []),
    *(["test_react_page.py"] if _MISSING_FOR_PAGES else []),
]


def pytest_report_collectionfinish(config: pytest.Config) -> str:
    if config.option.markexpr == "not slow":
        return "clients: left to make test-all"
    if _MISSING:
        return f"clients: no AI SDK and no openai-node, since there is no {' and no '.join(_MISSING)} on the PATH"
    if _MISSING_FOR_PAGES:
        return f"clients: no page, since there is no {' and no '.join(_MISSING_FOR_PAGES)} on the PATH"
    return "clients: tested with those of Node and a page too"


@pytest.fixture(scope="package")
def running_stack() -> Iterator[Stack]:
    with Stack(apis=2, workers=2) as stack:
        yield stack


@pytest.fixture
def stack(running_stack: Stack) -> Iterator[Stack]:
    """The healed stack, with an empty Redis."""
    yield from healed(running_stack)


@pytest.fixture(scope="session")
def node_packages() -> None:
    """The packages of `node/package-lock.json`."""
    install()
