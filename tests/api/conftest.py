"""Fixtures: an empty Redis, and settings with short times."""

from __future__ import annotations

import pytest

from readalong.settings import Settings
from tests.api.serving import short_settings


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return short_settings(redis_url)


@pytest.fixture(autouse=True)
def _no_job_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests play the workers of their jobs by hand: a silent job would be said to wait for a real one."""
    monkeypatch.setattr("api.waits._EVERY", 3600)
