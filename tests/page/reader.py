"""The actions of a person at the page."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.page.browser import wait_for
from tests.page.site import Pen, Site

#: The question box has the job's id in the address when the submit has been answered.
_CHANGED = "before => (new URLSearchParams(location.search).get('job') ?? '') !== before"


def ask(page: Page, site: Site, question: str = "Why?") -> Pen:
    """Types a question; returns its job, which waits in the queue."""
    before = job_of(page)
    page.fill("#question", question)
    page.press("#question", "Enter")
    wait_for(page, _CHANGED, before)
    expect(page.locator("#status")).to_contain_text("Queued")
    return site.job(job_of(page))


def job_of(page: Page) -> str:
    return str(page.evaluate("new URLSearchParams(location.search).get('job') ?? ''"))


def answer(page: Page) -> str:
    """Returns the exact text of the last answer."""
    return str(page.evaluate("document.querySelector('.turn:last-child .answer')?.textContent ?? ''"))


def wait_answer(page: Page, text: str) -> None:
    """Waits until the last answer is exactly this text."""
    wait_for(page, "text => document.querySelector('.turn:last-child .answer')?.textContent === text", text)


def wait_status(page: Page, text: str) -> None:
    """Waits until the page says so. On a busy machine "Streaming" may be over before it is seen."""
    either = re.compile(r"Streaming|Waiting for the next word") if text == "Streaming" else text
    expect(page.locator("#status")).to_contain_text(either)
