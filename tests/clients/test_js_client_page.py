"""The pages of the JavaScript client's documentation in a browser: a component of React, and a page without a build."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx2
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from readalong.testing import text_for
from tests.clients.node_chat import FOLDER, paced
from tests.page.browser import PATIENCE, chromium
from tests.support.stack import Stack

ROOT: Final = Path(__file__).parents[2]
DOCUMENTATION: Final = (ROOT / "docs/clients/javascript.md").read_text("utf-8")
HEAD: Final = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>example</title>'
MAIN: Final = """
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Answer } from "./answer.tsx";
createRoot(document.getElementById("page")).render(<StrictMode><Answer jobId={location.hash.slice(1)} /></StrictMode>);
"""


def example(language: str) -> str:
    """Returns the only example in this language."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENTATION, re.DOTALL)
    return str(code)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Fails the test if its console has an error, except of refused requests."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    complaints: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            complaints.append(message.text)

    context.on("console", hear)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context.new_page()
    context.close()
    assert not complaints


@pytest.fixture(scope="module")
def component(node_packages: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of a page with the documentation's component."""
    folder = tmp_path_factory.mktemp("react")
    (folder / "answer.tsx").write_text(example("tsx"))
    (folder / "main.tsx").write_text(MAIN)
    esbuild = str(FOLDER / "node_modules/.bin/esbuild")
    words = [esbuild, "main.tsx", "--bundle", "--format=esm", "--jsx=automatic"]
    defined = ['--define:process.env.NODE_ENV="development"', f"--alias:readalong/react={ROOT / 'clients/js/react.js'}"]
    environment = {**os.environ, "NODE_PATH": str(FOLDER / "node_modules")}
    ran = subprocess.run([*words, *defined], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    script: str = ran.stdout
    return script


def test_a_component_shows_a_job_as_it_grows_and_stops_it(stack: Stack, page: Page, component: str) -> None:
    """In strict mode, in which React runs each effect twice, and with another job in its place."""
    messages = [{"role": "user", "content": "How?"}]
    jobs = [
        httpx2.post(f"{stack.url}/v1/jobs", json={**body, "messages": messages}, trust_env=False).json()["id"]
        for body in (paced(3000, 50), {"model": "demo-fast"})
    ]
    html = f'{HEAD}<div id="page"></div><script type="module" src="react.js"></script>'
    page.route("**/react.html", lambda route: route.fulfill(content_type="text/html", body=html))
    page.route("**/react.js", lambda route: route.fulfill(content_type="text/javascript", body=component))
    page.goto(f"{stack.url}/react.html#{jobs[0]}")
    expect(page.locator(".status")).to_have_text("running")
    expect(page.locator(".text")).to_have_text(re.compile(r".{50}"))
    page.get_by_role("button").click()
    expect(page.locator(".status")).to_have_text("cancelled")
    assert page.get_by_role("button").count() == 0
    assert text_for({**paced(3000, 50), "messages": messages}).startswith(page.locator(".text").text_content() or "-")
    page.goto("about:blank")
    page.goto(f"{stack.url}/react.html#{jobs[1]}")
    expect(page.locator(".status")).to_have_text("done")
    assert page.locator(".text").text_content() == text_for({"model": "demo-fast", "messages": messages})
    page.goto("about:blank")
    page.goto(f"{stack.url}/react.html#{'x' * 22}")
    expect(page.locator(".status")).to_have_text(re.compile("x{22}"))


def test_a_page_needs_no_build_and_no_address(stack: Stack, page: Page) -> None:
    page.route("**/example.html", lambda route: route.fulfill(content_type="text/html", body=HEAD + example("html")))
    page.goto(f"{stack.url}/example.html")
    said = text_for({"model": "demo-fast", "messages": [{"role": "user", "content": "How?"}]})
    expect(page.locator("#answer")).to_have_text(said, use_inner_text=False)
