"""Fixtures: the settings of one Redis, and the names of its keys."""

from __future__ import annotations

import pytest

from readalong.core.keys import Keys
from readalong.core.settings import Settings
from tests.readalong.helpers import settings_for


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return settings_for(redis_url)


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return settings.keys
