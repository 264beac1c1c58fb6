"""Fixtures: an empty Redis, and settings with short times. Tests that need nginx are collected where nginx is
installed; otherwise the report says so."""

from __future__ import annotations

import pytest

from readalong.core.settings import Settings
from tests.api.serving import short_settings
from tests.support.nginx import nginx_binary

collect_ignore = [] if nginx_binary() else ["test_nginx.py"]


def pytest_report_collectionfinish() -> str:
    if collect_ignore:
        return "api: not tested behind nginx, there is none"
    return "api: tested behind nginx too"


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return short_settings(redis_url)


@pytest.fixture(autouse=True)
def _no_job_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns off the notice that a job waits for a worker: tests play the workers by hand."""
    monkeypatch.setattr("readalong.api.fanout.worker_waits._EVERY", 3600)
