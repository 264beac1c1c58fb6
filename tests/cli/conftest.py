"""Fixtures of the console command's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner, Result

from readalong.cli.main import app
from tests.cli.scripted_api import ScriptedApi, scripted_api

Run = Callable[..., Result]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedApi]:
    """A scripted API, which the commands find in READALONG_URL."""
    with scripted_api() as server:
        monkeypatch.setenv("READALONG_URL", server.url)
        yield server


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command with these words. An unexpected exception is raised."""

    # The width of the developer's terminal would cut the tables.
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*words: str) -> Result:
        result = CliRunner().invoke(app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run
