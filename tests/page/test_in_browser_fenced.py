"""A hostile link, and markup that gets into a page by mistake, can do almost nothing in a real browser."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

import httpx2
import pytest

from tests.page.browser import Browser
from tests.page.site import Site

pytestmark = pytest.mark.slow

#: The addresses that the page has requested.
ASKED = "return performance.getEntriesByType('resource').map((entry) => entry.name)"


def test_a_link_with_an_endless_chain_shows_fifty_turns(browser: Browser, site: Site) -> None:
    """The page requests no more jobs than these."""
    ids: list[str] = []
    with httpx2.Client(base_url=site.url, trust_env=False, verify=False, timeout=100) as http:
        for number in range(60):
            previous = {"previous": ids[-1]} if ids else {}
            body: dict[str, Any] = {"messages": [{"role": "user", "content": "Why?"}]}
            made = http.post("/v1/jobs", json={**body, "metadata": {"question": f"Why {number}?", **previous}})
            ids.append(made.json()["id"])
    browser.go(f"{site.url}/?job={ids[-1]}")
    browser.wait_text("#turns .note", "Only the last 50 turns")
    questions = "return [...document.querySelectorAll('.question')].map((each) => each.textContent)"
    assert browser.run(questions) == [f"Why {number}?" for number in range(10, 60)]
    asked = [name.rpartition("/")[2] for name in browser.run(ASKED) if "/v1/jobs/" in name and "events" not in name]
    assert asked == ids[:9:-1]


def test_a_question_comes_back_whole_from_the_parts_that_the_api_takes(browser: Browser) -> None:
    """The API takes 16 pairs of metadata of 512 characters each. Another client's metadata may be malformed."""
    script = """
        return import("/page/conversation.js").then(({ makeMetadata, readQuestion }) => {
          const whole = ["Why?", "a" + "\\u{1f600}".repeat(1024), "b".repeat(7680)];
          const made = [...whole, "c".repeat(9000)].map((question) => makeMetadata(question, "before"));
          const sizes = made.flatMap((each) => Object.values(each).map((value) => [...value].length));
          return {
            whole: whole.map((question, at) => readQuestion({ metadata: made[at] }) === question),
            cut: readQuestion({ metadata: made[3] }) === "c".repeat(7679) + "…",
            plain: made[0],
            formed: made.every((each) => Object.values(each).every((value) => value.isWellFormed())),
            pairs: Math.max(...made.map((each) => Object.keys(each).length)),
            longest: Math.max(...sizes),
            odd: readQuestion({ metadata: { question: { of: 1 }, question_2: 7 } }) + readQuestion({ metadata: null }),
          };
        });"""
    assert browser.run(script) == {
        "whole": [True, True, True],
        "cut": True,
        "plain": {"question": "Why?", "previous": "before"},
        "formed": True,
        "pairs": 16,
        "longest": 512,
        "odd": "",
    }


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_markup_that_gets_into_a_page_runs_nothing_and_loads_nothing(path: str, browser: Browser, site: Site) -> None:
    """The content security policy holds where our own escaping has failed."""
    browser.go(site.url + path)
    heard = """
        window.refused = [];
        addEventListener("securitypolicyviolation", (event) => window.refused.push(event.effectiveDirective));
        document.body.insertAdjacentHTML("beforeend", arguments[0]);"""
    markup = """<img src="https://evil.example/x.png"><img src="data:," onerror="window.ran = 1">
        <div style="position: fixed"></div><iframe src="https://evil.example/"></iframe>
        <form action="https://evil.example/"><button id="evil">Go</button></form>"""
    browser.run(heard, markup)
    browser.run("document.getElementById('evil').click()")
    expected = {"img-src", "script-src-attr", "style-src-attr", "frame-src", "form-action"}
    browser.wait(lambda: expected <= set(browser.run("return window.refused")), "a refusal of each")
    assert browser.run("return window.ran ?? null") is None
    assert browser.complaints()


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_no_other_page_shows_ours_in_a_frame(path: str, browser: Browser, site: Site) -> None:
    """Otherwise another page could lay it under its own and have its visitor click on Stop. Other responses may be
    framed."""
    for framed, seen in (("/openapi.json", f"{site.url}/openapi.json"), (path, "chrome-error://chromewebdata/")):
        browser.go(f"{site.url.replace('127.0.0.1', 'localhost')}/openapi.json")
        frame = "const frame = document.createElement('iframe'); frame.src = arguments[0]; document.body.append(frame)"
        browser.run(frame, site.url + framed)
        browser.enter_frame()
        browser.wait(partial(browser.run, "return location.href === arguments[0]", seen), seen)
    browser.complaints()


def test_the_description_shows_all_of_the_api_and_loads_nothing_from_elsewhere(browser: Browser, site: Site) -> None:
    """Each call with a line for curl, each of its fields, and each schema."""
    browser.go(f"{site.url}/docs")
    browser.wait_text("#Problem h2", "Problem")
    spec = site.get("/openapi.json")
    for path, item in spec["paths"].items():
        for method, operation in item.items():
            shown = browser.text(f"#{operation['operationId']}")
            assert f"{method.upper()} {path}" in shown
            assert f"'{site.url}{re.sub('{.*?}', 'ID', path)}'" in shown
            assert all(parameter["name"] in shown for parameter in operation.get("parameters", []))
            assert all(status in shown for status in operation["responses"])
    components = spec["components"]["schemas"]
    body = browser.text("#submit_job")
    assert all(name in body for name in components["ChatRequest"]["properties"])
    assert f"-d '{json.dumps(components['ChatRequest']['examples'][0], separators=(',', ':'))}'" in body
    assert "Location" in body, "the headers are there"
    assert all(browser.text(f"#{name} h2") == name for name in components)
    links = "return [...document.querySelectorAll('a[href^=\"#\"]')].every((a) => document.querySelector(a.hash))"
    assert browser.run(links) is True
    assert all(name.startswith(f"{site.url}/") for name in browser.run(ASKED))
