"""A hostile link, and markup that gets into a page by mistake, can do almost nothing in a real browser."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Page, Route, expect

from tests.page.browser import Visitors, wait_for
from tests.page.site import Site

pytestmark = pytest.mark.slow

#: The addresses that the page has requested.
ASKED = "performance.getEntriesByType('resource').map((entry) => entry.name)"


def test_a_link_with_an_endless_chain_shows_fifty_turns(page: Page, site: Site) -> None:
    """The page requests no more jobs than these."""
    ids: list[str] = []
    with httpx2.Client(base_url=site.url, trust_env=False, verify=False, timeout=100) as http:
        for number in range(60):
            previous = {"previous": ids[-1]} if ids else {}
            body: dict[str, Any] = {"messages": [{"role": "user", "content": "Why?"}]}
            made = http.post("/v1/jobs", json={**body, "metadata": {"question": f"Why {number}?", **previous}})
            ids.append(made.json()["id"])
    page.goto(f"{site.url}/?job={ids[-1]}")
    expect(page.locator("#turns .note").first).to_contain_text("Only the last 50 turns")
    assert page.locator(".question").all_text_contents() == [f"Why {number}?" for number in range(10, 60)]
    asked = [re.search(r"/v1/jobs/([^/?]+)(\?include=request)?$", name) for name in page.evaluate(ASKED)]
    assert [found[1] for found in asked if found] == ids[:9:-1]


def test_a_question_comes_back_whole_from_the_parts_that_the_api_takes(page: Page) -> None:
    """The API takes 16 pairs of metadata of 512 characters each. Another client's metadata may be malformed."""
    script = """
        import("/page/conversation.js").then(({ makeMetadata, readQuestion }) => {
          const whole = ["Why?", "a" + "\\u{1f600}".repeat(1024), "b".repeat(7680)];
          const made = [...whole, "c".repeat(9000)].map((question) => makeMetadata(question, "before"));
          const sizes = made.flatMap((each) => Object.values(each).map((value) => [...value].length));
          const asked = [{ role: "user", content: "of the request" }, { role: "assistant", content: "x" }];
          return {
            whole: whole.map((question, at) => readQuestion({ metadata: made[at] }) === question),
            cut: readQuestion({ metadata: made[3] }) === "c".repeat(7679) + "…",
            plain: made[0],
            formed: made.every((each) => Object.values(each).every((value) => value.isWellFormed())),
            pairs: Math.max(...made.map((each) => Object.keys(each).length)),
            longest: Math.max(...sizes),
            odd: readQuestion({ metadata: { question: { of: 1 }, question_2: 7 } }) + readQuestion({ metadata: null }),
            others: readQuestion({ metadata: {}, request: { messages: asked } }),
          };
        })"""
    assert page.evaluate(script) == {
        "whole": [True, True, True],
        "cut": True,
        "plain": {"question": "Why?", "previous": "before"},
        "formed": True,
        "pairs": 16,
        "longest": 512,
        "odd": "",
        "others": "of the request",
    }


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_markup_that_gets_into_a_page_runs_nothing_and_loads_nothing(path: str, visitors: Visitors, site: Site) -> None:
    """The content security policy holds where our own escaping has failed."""
    markup = b"""<img src="https://evil.example/x.png"><img src="data:," onerror="window.ran = 1">
        <div style="position: fixed"></div><iframe src="https://evil.example/"></iframe>
        <script>window.ran = 1</script><script src="https://evil.example/x.js"></script>
        <form action="https://evil.example/"><button id="evil">Go</button></form></body>"""

    def spoil(route: Route) -> None:
        reply = route.fetch()
        route.fulfill(response=reply, body=reply.body().replace(b"</body>", markup))

    page = visitors.open("about:blank", alone=True)
    page.add_init_script("""window.refused = [];
        addEventListener("securitypolicyviolation", (event) => window.refused.push(event.effectiveDirective));""")
    page.route(site.url + path, spoil)
    page.goto(site.url + path)
    page.evaluate("document.getElementById('evil').click()")
    expected = ["img-src", "script-src-attr", "script-src-elem", "style-src-attr", "frame-src", "form-action"]
    wait_for(page, "wanted => wanted.every((each) => window.refused.includes(each))", expected)
    assert page.evaluate("window.ran ?? null") is None
    assert visitors.complaints
    visitors.complaints.clear()


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_no_other_page_shows_ours_in_a_frame(path: str, visitors: Visitors, site: Site) -> None:
    """Otherwise another page could lay it under its own and have its visitor click on Stop. Other responses may be
    framed."""
    page = visitors.open(f"{site.url.replace('127.0.0.1', 'localhost')}/openapi.json")
    for framed, seen in (("/openapi.json", f"{site.url}/openapi.json"), (path, "chrome-error://chromewebdata/")):
        page.reload()
        frame = (
            "url => { const frame = document.createElement('iframe'); frame.src = url; document.body.append(frame); }"
        )
        page.evaluate(frame, site.url + framed)
        expect(page.locator("iframe")).to_have_count(1)
        inner = page.frames[1]
        wait_for(inner, "seen => location.href === seen", seen)
    visitors.complaints.clear()


def test_the_description_shows_all_of_the_api_and_loads_nothing_from_elsewhere(page: Page, site: Site) -> None:
    """Each call with a line for curl, each of its fields, and each schema."""
    page.goto(f"{site.url}/docs")
    expect(page.locator("#Problem h2")).to_contain_text("Problem")
    spec = site.get("/openapi.json")
    for path, item in spec["paths"].items():
        for method, operation in item.items():
            shown = page.locator(f"#{operation['operationId']}").text_content() or ""
            assert f"{method.upper()} {path}" in shown
            assert f"'{site.url}{re.sub('{.*?}', 'ID', path)}'" in shown
            assert all(parameter["name"] in shown for parameter in operation.get("parameters", []))
            assert all(status in shown for status in operation["responses"])
    components = spec["components"]["schemas"]
    body = page.locator("#submit_job").text_content() or ""
    assert all(name in body for name in components["ChatRequest"]["properties"])
    assert f"-d '{json.dumps(components['ChatRequest']['examples'][0], separators=(',', ':'))}'" in body
    assert "Location" in body, "the headers are there"
    assert all(page.locator(f"#{name} h2").text_content() == name for name in components)
    links = "[...document.querySelectorAll('a[href^=\"#\"]')].every((a) => document.querySelector(a.hash))"
    assert page.evaluate(links) is True
    assert all(name.startswith(f"{site.url}/") for name in page.evaluate(ASKED))
