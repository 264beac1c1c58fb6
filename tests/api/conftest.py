"""Fixtures: an empty Redis, and settings with short times."""

from __future__ import annotations

import pytest

from readalong.settings import Settings
from tests.api.serving import short_settings


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return short_settings(redis_url)
