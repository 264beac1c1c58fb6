"""The page for everyone: by keyboard, with a screen reader, on a phone, dark and light."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from readalong.core.events import NewEvent
from tests.page.browser import Visitors
from tests.page.reader import ask, wait_answer, wait_status
from tests.page.site import Site

pytestmark = pytest.mark.slow


def test_all_works_by_keyboard(page: Page, site: Site) -> None:
    """Escape stops, and the text box has the focus after a stop, so that the next question can be typed."""
    page.keyboard.type("Why?")
    page.keyboard.press("Enter")
    wait_status(page, "Queued")
    pen = site.job(page.url.rpartition("=")[2]).claim()
    pen.say("one ")
    wait_status(page, "Streaming")
    page.keyboard.press("Escape")
    expect(page.locator("#stop")).to_have_text("Stopping…")
    pen.end("cancelled", by="client")
    wait_status(page, "Stopped")
    page.keyboard.type("Next?")
    assert page.input_value("#question") == "Next?"
    page.keyboard.press("Enter")
    wait_status(page, "Queued")
    page.focus("#stop")
    page.keyboard.press("Enter")
    wait_status(page, "Stopped")
    assert page.evaluate("document.activeElement.id") == "question"


def test_escape_in_the_dialog_stops_nothing(page: Page, site: Site) -> None:
    """It closes the dialog, and the focus is where it was."""
    pen = ask(page, site).claim()
    pen.say("one ")
    page.focus("#share")
    page.keyboard.press("Enter")
    expect(page.locator("#sharing")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#sharing")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "share"
    assert not pen.say("two ")
    pen.end()
    wait_status(page, "Done")


def test_a_screen_reader_hears_paragraphs_and_not_tokens(page: Page, site: Site) -> None:
    """Each once, when it is complete. The text that grows is in no live region."""
    said = """() => { window.said = []; new MutationObserver((all) => {
        for (const { addedNodes } of all) for (const node of addedNodes) window.said.push(node.textContent);
    }).observe(document.getElementById("said"), { childList: true }); }"""
    page.evaluate(said)
    pen = ask(page, site).claim()
    for piece in ("First ", "para", "graph.\n\nSecond ", "**one**.\n\n", "Third."):
        pen.say(piece)
    pen.say("", "content")
    wait_answer(page, "First paragraph.Second one.Third.")
    assert page.evaluate("window.said.length") < 3
    pen.end()
    wait_status(page, "Done")
    assert page.evaluate("window.said") == ["First paragraph.", "Second one.", "Third."]
    assert page.evaluate("document.querySelector('.answer').closest('[aria-live]')") is None
    assert page.locator(".turn").get_attribute("aria-busy") == "false"
    page.reload()
    wait_answer(page, "First paragraph.Second one.Third.")
    assert page.locator("#said").text_content() == ""


def test_it_fits_a_phone(visitors: Visitors, site: Site) -> None:
    """Nothing is wider than 360 pixels: not a word, a call, code or a table without spaces."""
    phone: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    page = visitors.open(site.url, **phone)
    pen = ask(page, site, "w" * 200).claim()
    pen.say("w" * 500 + "\n\n```\n" + "c" * 500 + "\n```\n\n" + f"| {'t' * 90} | {'u' * 90} |\n|---|---|\n| a | b |\n")
    pen.write(NewEvent("tool_call", {"index": 0, "id": "a", "name": "n" * 90, "arguments": {"k" * 90: "v" * 90}}))
    pen.end()
    wait_status(page, "Done")
    assert page.evaluate("document.scrollingElement.scrollWidth") == 360
    expect(page.locator(".copy-answer")).to_have_css("opacity", "1")
    page.tap("#share")
    page.wait_for_selector("#qr svg")
    box = page.locator("#sharing").bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360


def test_dark_and_light_follow_the_system(visitors: Visitors, site: Site) -> None:
    """Without a reload, too."""
    page = visitors.open(site.url, color_scheme="light")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) != light
