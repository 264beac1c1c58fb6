"""Fixtures of the tests of models."""

from __future__ import annotations

import pytest

from tests.support.servers import free_port


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Returns the port of the workers' model. No server listens there."""
    found = free_port()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{found}/v1")
    return found
