"""The actions of a person at the page."""

from __future__ import annotations

from tests.page.browser import Browser
from tests.page.site import Pen, Site

ENTER = "\ue007"


def ask(browser: Browser, site: Site, question: str = "Why?") -> Pen:
    """Types a question; returns its job, which waits in the queue."""
    before = job_of(browser)
    browser.type("#question", question + ENTER)
    job_id = browser.wait(lambda: (now := job_of(browser)) != before and now, "job in the address")
    browser.wait_text("#status", "Queued")
    return site.job(str(job_id))


def job_of(browser: Browser) -> str:
    return str(browser.run("return new URLSearchParams(location.search).get('job') ?? ''"))


def answer(browser: Browser) -> str:
    """Returns the exact text of the last answer."""
    found = browser.run("return document.querySelector('.turn:last-child .answer')?.textContent ?? ''")
    return str(found)
