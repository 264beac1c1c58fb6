"""The actions of an operator at the inspector."""

from __future__ import annotations

from typing import Any

import httpx2
from playwright.sync_api import Locator, Page, expect

from tests.page.browser import Visitors
from tests.page.site import Pen, Site


def inspect(visitors: Visitors, site: Site, path: str = "", **options: Any) -> Page:
    """Opens the inspector, as soon as it is connected. `path`: what follows /inspect."""
    page = visitors.open(f"{site.url}/inspect{path}", **options)
    expect(page.locator("#link-text")).to_have_text("Live")
    return page


def submit(site: Site, question: str = "Why?", **fields: Any) -> Pen:
    """Submits a job by the API, as an application does."""
    body = {"messages": [{"role": "user", "content": question}], **fields}
    reply = httpx2.post(f"{site.url}/v1/jobs", json=body, trust_env=False, verify=False)
    reply.raise_for_status()
    return site.job(reply.json()["id"])


def row(page: Page, pen: Pen) -> Locator:
    """Returns the job's row in the list."""
    return page.locator(f'#job-rows [data-id="{pen.id}"]')


def wait_state(page: Page, pen: Pen, state: str) -> None:
    """Waits until the list shows the job in this state."""
    expect(row(page, pen).locator(".state")).to_have_text(state)


def open_job(page: Page, pen: Pen) -> None:
    """Opens the page of a job, and waits until it shows it."""
    page.goto(page.url.split("#")[0] + f"#/jobs/{pen.id}")
    expect(page.locator("#job-title")).to_have_text(pen.id)
    expect(page.locator("#job-state")).to_be_visible()
