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


def heard(page: Page) -> list[str]:
    """Returns what a screen reader has said by itself, since the first call: each change of a live region."""
    return list(
        page.evaluate("""() => {
        if (!window.heard) {
          window.heard = [];
          const hear = ({ target, addedNodes }) => {
            if (!target.closest("[aria-live]")) return;
            window.heard.push(...[...addedNodes].map(({ textContent }) => textContent));
          };
          new MutationObserver((all) => all.forEach(hear)).observe(document.body, { childList: true, subtree: true });
        }
        return window.heard.filter((text) => text);
    }""")
    )


def tree(page: Page) -> dict[str, dict[str, Any]]:
    """Returns what a screen reader finds: the properties of each node of the accessibility tree, by its name."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    found: dict[str, dict[str, Any]] = {}
    for node in nodes:
        if not node["ignored"]:
            properties = {each["name"]: each["value"].get("value") for each in node.get("properties", [])}
            found.setdefault(node["name"]["value"], {}).update(properties)
    return found


def test_a_screen_reader_hears_paragraphs_and_not_tokens(page: Page, site: Site) -> None:
    """Each once, when it is complete. The text that grows is in no live region."""
    heard(page)
    pen = ask(page, site).claim()
    for piece in ("First ", "para", "graph.\n\nSecond ", "**one**.\n\n", "Third."):
        pen.say(piece)
    wait_answer(page, "First paragraph.Second one.Third.")
    assert "Third." not in heard(page)
    assert "live" not in tree(page)["Third."]
    pen.end()
    wait_status(page, "Done")
    said = heard(page)
    assert [text for text in said if text.endswith(".")] == ["First paragraph.", "Second one.", "Third."]
    assert said.count("Done") == 1
    assert page.locator(".turn").get_attribute("aria-busy") == "false"
    page.reload()
    wait_answer(page, "First paragraph.Second one.Third.")
    assert page.locator("#said").text_content() == ""


def test_a_screen_reader_is_told_of_reasoning_and_hears_it_when_it_is_unfolded(page: Page, site: Site) -> None:
    """Folded, it is told twice: that the model reasons, and where the reasoning is."""
    heard(page)
    pen = ask(page, site).claim()
    pen.say("First thought.\n\nSecond ", "reasoning")
    wait_status(page, "Reasoning")
    assert tree(page)["Reasoning …"]["expanded"] is False
    assert "First thought." not in tree(page)
    pen.say("thought.\n\n", "reasoning")
    pen.say("Yes.")
    wait_status(page, "Streaming")
    told = ["Reasoning", "The reasoning is folded above the answer."]
    assert [text for text in heard(page) if text in told or "thought" in text] == told
    page.click(".reasoning summary")
    assert tree(page)["Reasoning"]["expanded"] is True
    assert "First thought." in tree(page)
    pen.claim().say("Open ", "reasoning")
    expect(page.locator(".reasoning .md")).to_have_text("Open")
    page.click(".reasoning summary")
    pen.say("thought.\n\n", "reasoning")
    pen.say("No.")
    pen.end()
    wait_status(page, "Done")
    assert [text for text in heard(page) if text.endswith(".")] == [told[1], "Open thought.", "No."]


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
