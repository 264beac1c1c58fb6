"""The JavaScript client plays the scenarios of clients/conformance.md, in Node and in a page."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Route

from tests.clients.conformance.scenarios import SCENARIOS
from tests.clients.conformance.server import served_in_thread
from tests.clients.node_chat import FOLDER
from tests.page.browser import chromium

CLIENT: Final = Path(__file__).parents[2] / "clients" / "js"
PAGE: Final = '<!doctype html><link rel="icon" href="data:,"><title>conformance</title>'
PLAY: Final = """async () => {
    const [library, { playAll }] = await Promise.all([import("/page/readalong.js"), import("/page/conformance.mjs")]);
    return playAll(location.origin, library, true);
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with served_in_thread() as url:
        yield url


def in_node(server: str) -> dict[str, Any]:
    words = ["node", "conformance.mjs", server]
    ran = subprocess.run(words, cwd=FOLDER, capture_output=True, text=True, timeout=250, check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def in_a_page(server: str) -> dict[str, Any]:
    """The page is the server's: its files are put in its place, all else goes to it."""

    def serve(route: Route) -> None:
        name = route.request.url.partition("/page/")[2]
        file = FOLDER / name if name.endswith(".mjs") else CLIENT / name
        route.fulfill(
            body=file.read_text("utf-8") if name else PAGE, content_type="text/javascript" if name else "text/html"
        )

    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(250_000)
        page.route("**/page/**", serve)
        page.goto(f"{server}/page/")
        found: dict[str, Any] = page.evaluate(PLAY)
        return found


@pytest.fixture(scope="module", params=[in_node, in_a_page], ids=["node", "page"])
def wrong(request: pytest.FixtureRequest, server: str) -> dict[str, Any]:
    """What was other than expected, by the number of the scenario. All are played at once."""
    found: dict[str, Any] = request.param(server)
    return found


@pytest.mark.parametrize("number", SCENARIOS, ids=lambda number: f"{number}: {SCENARIOS[number].title}")
def test_it_conforms(wrong: dict[str, Any], number: int) -> None:
    assert wrong[str(number)] == []
