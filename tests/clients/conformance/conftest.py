"""The scripted server, one for each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.conformance.server import served_in_thread


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with served_in_thread() as url:
        yield url
