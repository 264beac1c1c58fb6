"""The link of an answer: its QR code, and the number of people who read along."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.page.browser import Visitors
from tests.page.reader import ask, wait_answer, wait_status
from tests.page.site import Site

pytestmark = pytest.mark.slow

#: Reads the code back: the modules of the SVG's path, at its corners and as a count.
_MODULES = """() => {
    const svg = document.querySelector("#qr svg");
    const found = [...svg.firstChild.getAttribute("d").matchAll(/M(\\d+) (\\d+)/g)].map(([, x, y]) => `${x},${y}`);
    const last = svg.viewBox.baseVal.width - 9;
    return [last + 1, found.join(" "), ["0,0", `${last},0`, `0,${last}`].every((each) => found.includes(each))];
}"""


def test_a_link_has_a_code_of_its_own(page: Page, site: Site) -> None:
    """The code is a square of the right size with its three finders, and differs for each answer."""
    seen = []
    for _ in range(2):
        pen = ask(page, site).claim()
        page.click("#share")
        expect(page.locator("#link")).to_have_value(page.url)
        page.wait_for_selector("#qr svg")
        size, dark, has_finders = page.evaluate(_MODULES)
        assert (size - 17) % 4 == 0
        assert has_finders
        seen.append(dark)
        expect(page.locator("#local")).to_be_visible()
        page.click("#sharing-close")
        pen.end()
        wait_status(page, "Done")
    assert seen[0] != seen[1]


def test_each_page_shows_how_many_read_along(page: Page, visitors: Visitors, site: Site) -> None:
    """The number rises with each person and falls again. A page alone says nothing."""
    pen = ask(page, site).claim()
    pen.say("one ")
    wait_answer(page, "one")
    expect(page.locator("#readers")).to_have_text("")
    others = [visitors.open(page.url) for _ in range(2)]
    for each in (page, *others):
        expect(each.locator("#readers")).to_have_text("3 reading along")
    others[0].close()
    expect(page.locator("#readers")).to_have_text("2 reading along")
    pen.end()
    wait_status(page, "Done")
    expect(page.locator("#readers")).to_have_text("")
