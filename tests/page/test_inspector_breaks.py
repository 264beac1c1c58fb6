"""The inspector when something is broken: a stuck job, hostile texts, an API or a Redis that is away."""

from __future__ import annotations

import time
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from readalong.core.events import NewEvent
from tests.page.axe import violations
from tests.page.browser import Visitors
from tests.page.inspecting import inspect, open_job, row, submit, wait_state
from tests.page.site import Site
from tests.page.way import Way

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=\"window.broken='yes'\"><script>window.broken='yes'</script>"
SCREENS: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 360), ("dark", 1400))


def silence(site: Site, job_id: str, seconds: int) -> None:
    """Makes the job's newest event so many seconds old."""
    at = int((time.time() - seconds) * 1000)
    site.run(site.client.hset(site.settings.keys.job(job_id), "last_event_at", at))


def test_a_stuck_job_is_the_first_thing_that_one_sees_with_its_reason(visitors: Visitors, site: Site) -> None:
    """And what to do, one click from its page, which says the same."""
    pen = submit(site, model="slow-model").claim()
    silence(site, pen.id, 600)
    page = inspect(visitors, site)
    first = page.locator("#finding-list .finding").first
    expect(first).to_have_attribute("data-code", "job_stuck")
    expect(first).to_have_attribute("data-severity", "critical")
    expect(first).to_contain_text("slow-model")
    expect(first.locator("code")).to_contain_text(f"readalong cancel {pen.id}")
    assert first.evaluate("element => element.getBoundingClientRect().top") < 200
    expect(row(page, pen)).to_have_attribute("data-stuck", "")
    first.locator("a").click()
    expect(page.locator("#job-findings .finding")).to_have_attribute("data-code", "job_stuck")
    pen.end()
    expect(page.locator("#job-findings .finding")).to_have_count(0)


def test_hostile_texts_stay_texts(visitors: Visitors, site: Site) -> None:
    """In a model's name, metadata, a tool's name, an error's code, a worker's name, and the address."""
    pen = submit(site, HOSTILE, model=HOSTILE, metadata={HOSTILE[:64]: HOSTILE}).claim()
    pen.write(NewEvent("tool_call", {"index": 0, "id": HOSTILE, "name": HOSTILE, "arguments": {"a": HOSTILE}}))
    pen.say(HOSTILE)
    pen.end("failed", error={"code": HOSTILE, "message": HOSTILE, "retryable": False})
    page = inspect(visitors, site)
    wait_state(page, pen, "failed")
    expect(row(page, pen)).to_contain_text("<img src=x")
    open_job(page, pen)
    for summary in page.locator("#texts summary").all():
        summary.click()
    page.click("#show-texts")
    expect(page.locator("#texts")).to_contain_text("<script>")
    expect(page.locator("#event-rows")).to_contain_text("<script>")
    assert unbroken(page)
    page.goto(f"{site.url}/inspect#/jobs/{HOSTILE}")
    expect(page.locator("#job-problem")).to_have_text("This is not the id of a job.")
    expect(page.locator("#job-lines")).not_to_contain_text("img")
    assert unbroken(page)


def unbroken(page: Page) -> bool:
    return not page.evaluate("window.broken ?? document.querySelectorAll('img, script:not([src])').length")


def test_a_lost_connection_is_noticed_and_what_happened_meanwhile_is_shown(
    visitors: Visitors, site: Site, way: Way
) -> None:
    pen = submit(site).claim()
    page = visitors.open(f"{way.url}/inspect")
    wait_state(page, pen, "running")
    way.shut()
    expect(page.locator("#stale")).to_contain_text("Connection lost")
    pen.end()
    wait_state(page, pen, "running")
    way.open()
    expect(page.locator("#link-text")).to_have_text("Live")
    wait_state(page, pen, "done")
    expect(page.locator("#stale")).to_be_hidden()


def test_a_redis_that_is_away_is_the_first_finding_until_it_is_back(visitors: Visitors, site: Site) -> None:
    page = inspect(visitors, site)
    site.pause_redis()
    try:
        expect(page.locator("#finding-list .finding").first).to_have_attribute("data-code", "redis_away")
        expect(page.locator("#redis")).to_have_text("away")
        late = visitors.open(f"{site.url}/inspect")
        expect(late.locator("#redis")).to_have_text("away")
    finally:
        site.resume_redis()
    expect(page.locator("#redis")).to_have_text("answers")
    pen = submit(site)
    wait_state(page, pen, "queued")
    wait_state(late, pen, "queued")
    expect(late.locator("#list-problem")).to_be_hidden()


def test_a_job_that_does_not_exist_is_told(visitors: Visitors, site: Site) -> None:
    page = inspect(visitors, site, "#/jobs/abcdefghijklmnop")
    expect(page.locator("#job-problem")).to_contain_text("does not exist")
    expect(page.locator("#job-body")).to_be_hidden()


def test_axe_finds_no_violation_and_nothing_is_wider_than_the_screen(
    visitors: Visitors, site: Site, node_packages: None
) -> None:
    """On a phone in light colours and on a screen in dark ones: the list with findings, a job with all its texts shown,
    and the dialog."""
    pen = submit(site, model="a-model-with-a-name-that-is-longer-than-a-phone-is-wide-" * 2).claim()
    pen.say("A word that does not end: " + "x" * 500)
    silence(site, pen.id, 600)
    page = inspect(visitors, site)
    expect(page.locator("#finding-list .finding").first).to_be_visible()
    wait_state(page, pen, "running")
    page.click("text=The numbers, minute by minute")
    expect(page.locator("#minutes tr")).to_have_count(60)
    check(page)
    open_job(page, pen)
    for summary in page.locator("#job summary").all():
        summary.click()
    page.click("#show-texts")
    page.click("#event-rows .row:has-text('content') button")
    check(page)
    page.click("#erase")
    check(page)
    page.click("#erase-dialog [value=keep]")
    pen.end()


def check(page: Page) -> None:
    for scheme, width in SCREENS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
