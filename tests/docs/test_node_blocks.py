"""Blocks of JavaScript, in Node and in a page."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from readalong.testing import text_for
from tests.clients.asked import question
from tests.clients.node_chat import FOLDER, install
from tests.docs.blocks import Block, blocks_for
from tests.docs.test_shell_blocks import ADDRESS
from tests.page.browser import PATIENCE, chromium, missing
from tests.support.stack import Stack

_MISSING: Final = [*missing(), *(name for name in ("node", "npm") if shutil.which(name) is None)]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(_MISSING), reason=f"there is no {' and no '.join(_MISSING)} on the PATH"),
]

_HERE: Final = "tests/docs/test_node_blocks.py"
NODE: Final = blocks_for(f"{_HERE}::test_a_block_runs_in_node")
PAGES: Final = blocks_for(f"{_HERE}::test_a_block_runs_in_a_page")
COMPONENTS: Final = blocks_for(f"{_HERE}::test_a_component_runs_in_a_page")
_SITE: Final = re.compile(r"https://readalong\.example|http://127\.0\.0\.1:8000")
_MODEL: Final = re.compile(r"gpt-5-mini")
#: The names that a page takes for granted, and what shows that the block has done its work.
_BEFORE: Final = "const threadId = crypto.randomUUID();\n"
_AFTER: Final = "\nif (typeof agent !== 'undefined') console.log(agent.messages.at(-1).content);\n"
_HEAD: Final = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>block</title>'
#: A page for a block that is a piece of a script.
_PIECE: Final = """<p id="answer"></p><script type="module">
const id = location.hash.slice(1);
const show = (text) => document.querySelector("#answer").append(text);
const clear = () => document.querySelector("#answer").replaceChildren();
%s
</script>"""
_MAIN: Final = """
import { createRoot } from "react-dom/client";
import Page from "./page.tsx";
createRoot(document.getElementById("page")).render(<Page />);
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Fails the test if a script raised."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    complaints: list[str] = []
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context.new_page()
    context.close()
    assert not complaints


@pytest.mark.parametrize("block", NODE, ids=[block.name for block in NODE])
def test_a_block_runs_in_node(stack: Stack, block: Block, tmp_path: Path) -> None:
    install()
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    code = _MODEL.sub("demo-fast", _SITE.sub(stack.url, block.text))
    (tmp_path / "block.mjs").write_text(_BEFORE + code + _AFTER)
    words = ["node", "block.mjs"]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()


@pytest.mark.parametrize("block", PAGES, ids=[block.name for block in PAGES])
def test_a_block_runs_in_a_page(stack: Stack, block: Block, page: Page) -> None:
    """With an ended job, from its start."""
    body = {"model": "demo-fast", "messages": [{"role": "user", "content": "How?"}]}
    job = httpx2.post(f"{stack.url}/v1/jobs", json=body, trust_env=False).json()["id"]
    html = _HEAD + (block.text if block.language == "html" else _PIECE % block.text)
    page.route("**/block.html", lambda route: route.fulfill(content_type="text/html", body=html))
    page.goto(f"{stack.url}/block.html#{job}")
    expect(page.locator("#answer")).to_have_text(text_for(body), use_inner_text=False)


@pytest.mark.parametrize("block", COMPONENTS, ids=[block.name for block in COMPONENTS])
def test_a_component_runs_in_a_page(stack: Stack, block: Block, page: Page, tmp_path: Path) -> None:
    """It asks, is reloaded in mid-stream, and stops."""
    install()
    (tmp_path / "page.tsx").write_text(block.text)
    (tmp_path / "main.tsx").write_text(_MAIN)
    words = ["main.tsx", "--bundle", "--format=esm", "--jsx=automatic", '--define:process.env.NODE_ENV="production"']
    environment = {**os.environ, "NODE_PATH": str(FOLDER / "node_modules")}
    esbuild = [str(FOLDER / "node_modules/.bin/esbuild"), *words]
    ran = subprocess.run(esbuild, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    html = f'{_HEAD}<div id="page"></div><script type="module" src="block.js"></script>'
    page.route("**/block.html", lambda route: route.fulfill(content_type="text/html", body=html))
    page.route("**/block.js", lambda route: route.fulfill(content_type="text/javascript", body=ran.stdout))
    stack.apis[0].restart(READALONG_MODEL="demo-endless")
    stack.wait_ready()
    page.goto(f"{stack.url}/block.html")
    asked = question()
    page.fill("[name=question]", asked)
    page.press("[name=question]", "Enter")
    expect(page.locator("p.assistant")).to_have_text(re.compile(r".{50}"))
    page.reload()
    expect(page.locator("p.assistant")).to_have_text(re.compile(r".{50}"))
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    deadline = time.monotonic() + PATIENCE / 1000
    while [each["state"] for each in stack.generations(asked)] != ["gone"]:
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def test_next_passes_the_calls_on(tmp_path: Path) -> None:
    (block,) = blocks_for(f"{_HERE}::test_next_passes_the_calls_on")
    (tmp_path / "next.config.mjs").write_text(block.text)
    code = 'import config from "./next.config.mjs"; console.log(JSON.stringify(await config.rewrites()))'
    words = ["node", "--input-type=module", "--eval", code]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=True)
    (rule,) = json.loads(ran.stdout)
    assert ADDRESS.sub("", rule["destination"]) == rule["source"]
