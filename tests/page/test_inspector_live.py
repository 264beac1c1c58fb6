"""The inspector in a real browser: jobs as they come, and what one can do with a job."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx2
import orjson
import pytest
from playwright.sync_api import Route, expect

from readalong.core.events import NewEvent
from readalong.redis.facade import RedisFacade
from readalong.store.job_index import JobIndex
from readalong.store.worker_registry import WorkerRegistry
from tests.page.browser import Visitors, wait_until
from tests.page.inspecting import inspect, open_job, row, submit, wait_state
from tests.page.site import Site

pytestmark = pytest.mark.slow

REDIS_DOCS = Path(__file__).parents[2] / "docs" / "redis.md"


def test_a_job_appears_and_moves_from_state_to_state_without_a_reload(visitors: Visitors, site: Site) -> None:
    page = inspect(visitors, site)
    page.evaluate("window.sameDocument = true")
    pen = submit(site, model="live-model")
    wait_state(page, pen, "queued")
    pen.claim()
    wait_state(page, pen, "running")
    pen.say("Because.")
    pen.end()
    wait_state(page, pen, "done")
    expect(row(page, pen)).to_contain_text("412 ms")
    assert page.evaluate("window.sameDocument")


def test_the_list_shows_its_last_column_without_scrolling(visitors: Visitors, site: Site) -> None:
    """Its last column tells why a job failed: cut off, it would be the one that is missed."""
    page = inspect(visitors, site)
    for width in (1000, 1280, 1500):
        page.set_viewport_size({"width": width, "height": 800})
        note, table = (page.locator(name).bounding_box() for name in ("#job-table .table-head .c-note", "#job-table"))
        assert note
        assert table
        assert note["x"] + note["width"] <= table["x"] + table["width"], width


def test_a_job_is_cancelled_from_its_page(visitors: Visitors, site: Site) -> None:
    """The cancel is a flag that its worker sees; the page shows the end that the worker writes."""
    page = inspect(visitors, site)
    pen = submit(site).claim()
    pen.say("Once upon ")
    wait_state(page, pen, "running")
    row(page, pen).locator("a").click()
    page.click("#cancel")
    expect(page.locator("#cancel")).to_have_text("Cancel asked for")
    assert '"client"' in pen.say("a time")
    pen.end("cancelled", by="client")
    expect(page.locator("#job-state")).to_have_text("cancelled")
    expect(page.locator("#steps")).to_contain_text("Ended: cancelled")


def test_erasing_asks_first(visitors: Visitors, site: Site) -> None:
    """Escape keeps the job. When it is erased, another operator's list loses it, too."""
    pen = submit(site).claim()
    pen.end()
    other, page = inspect(visitors, site), inspect(visitors, site)
    wait_state(other, pen, "done")
    open_job(page, pen)
    page.click("#erase")
    page.keyboard.press("Escape")
    expect(page.locator("#erase-dialog")).to_be_hidden()
    assert site.get(f"/v1/jobs/{pen.id}")["status"] == "done"
    page.click("#erase")
    page.click("#erase-dialog [value=erase]")
    expect(page.locator("#job-problem")).to_have_text("This job has been erased.")
    expect(row(other, pen)).to_have_count(0)
    assert httpx2.get(f"{site.url}/v1/jobs/{pen.id}", trust_env=False, verify=False).status_code in (404, 410)


def test_a_request_that_is_not_kept_cannot_run_again_and_the_page_says_why(visitors: Visitors, site: Site) -> None:
    """Until the next action: the page reads the job anew meanwhile, as it does when its stream has ended."""
    pen = submit(site).claim()
    pen.end()
    page = inspect(visitors, site)
    reads: list[Route] = []

    def hold(route: Route) -> None:
        reads.append(route)
        if len(reads) == 1:
            route.continue_()

    page.route("**/v1/jobs/*include=timeline*", hold)
    open_job(page, pen)
    wait_until(page, lambda: len(reads) == 2)
    page.click("#retry")
    expect(page.locator("#job-problem")).to_contain_text("READALONG_KEEP_REQUEST")
    with page.expect_event("requestfinished", lambda request: request == reads[1].request):
        reads[1].continue_()
    page.evaluate("new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))")
    expect(page.locator("#job-problem")).to_contain_text("READALONG_KEEP_REQUEST")
    expect(page.locator("#retry")).to_have_text("Run again")


def test_the_texts_of_people_and_models_are_hidden_until_one_asks(visitors: Visitors, site: Site) -> None:
    """Not by style: they are not in the document."""
    pen = submit(site, "The secret question?", metadata={"note": "a secret note"}).claim()
    pen.say("The secret answer.")
    page = inspect(visitors, site)
    open_job(page, pen)
    expect(page.locator("#event-rows .row")).to_have_count(3)
    assert "secret" not in page.content()
    page.click("text=Request hidden")
    expect(page.locator("#texts")).to_contain_text("The secret question?")
    page.click("summary:has-text('Result')")
    expect(page.locator("#texts")).to_contain_text("The secret answer.")
    pen.say(" And more.")
    expect(page.locator("#texts")).to_contain_text("The secret answer. And more.")
    page.click("summary:has-text('Metadata')")
    expect(page.locator("#texts")).to_contain_text("a secret note")
    page.click("#event-rows .row:has-text('content') button")
    expect(page.locator("#event-data")).to_contain_text("The secret answer.")
    pen.end()


def test_events_come_as_rows_and_void_text_is_struck_out(visitors: Visitors, site: Site) -> None:
    """A restart voids the text before it, and is a step of the timeline."""
    pen = submit(site).claim()
    pen.say("One")
    page = inspect(visitors, site)
    open_job(page, pen)
    expect(page.locator("#event-rows .row")).to_have_count(3)
    pen.claim()
    pen.write(NewEvent("restarted", {"attempt": 2, "reason": "worker_lost", "worker": {"host": "cedar", "pid": 4711}}))
    pen.say("Two")
    expect(page.locator("#event-rows .row[data-void]")).to_have_count(1)
    expect(page.locator("#event-rows")).to_contain_text("attempt 2, worker_lost")
    pen.end()
    expect(page.locator("#job-state")).to_have_text("done")
    expect(page.locator("#event-rows")).to_contain_text("done")


def test_the_figures_of_a_running_job_go_on_without_a_reload(visitors: Visitors, site: Site) -> None:
    """Its first token is a step of the timeline at once, and its tokens are counted as they come. When it has ended, it
    can run again."""
    pen = submit(site).claim()
    site.run(site.client.hset(site.settings.keys.job(pen.id), "keep_request", 1))
    page = inspect(visitors, site)
    open_job(page, pen)
    expect(page.locator("#steps li")).to_have_count(2)
    for word in ("One ", "two ", "three "):
        pen.say(word)
    expect(page.locator("#steps")).to_contain_text("First token")
    expect(page.locator('#facts [data-key="Tokens"]')).to_contain_text("3 out")
    expect(page.locator("#token-plot .plot-value")).to_have_text("3 tokens")
    expect(page.locator("#watch")).to_have_attribute("href", f"./?job={pen.id}")
    pen.end()
    expect(page.locator('#facts [data-key="Took"]')).to_contain_text("2.5 s")
    page.click("#retry")
    expect(page.locator("#original")).to_have_text(pen.id)
    expect(page.locator("#job-title")).not_to_have_text(pen.id)
    page.click("#cancel")
    expect(page.locator("#job-state")).to_have_text("cancelled")


def test_the_last_hour_and_what_each_worker_runs_are_shown(visitors: Visitors, site: Site) -> None:
    failed, pen = submit(site).claim(), submit(site).claim()
    failed.end("failed", error={"code": "model_cut", "message": "The model broke off.", "retryable": True})
    redis = RedisFacade(site.client, site.settings)
    site.run(JobIndex(redis, site.settings).refile(failed.id))  # as its worker does, which counts it
    sign = {"host": "cedar", "pid": 4711, "slots": 3, "lag_seconds": 0.004, "running": [pen.id]}
    registry = WorkerRegistry(redis, site.settings)
    now = int(time.time() * 1000)
    site.run(registry.heartbeat("pen", orjson.dumps(sign), now, 600_000))
    page = inspect(visitors, site)
    for seen in ("cedar", "pid 4711", "1 of 3", pen.id[:8], "4.0 ms"):
        expect(page.locator("#workers")).to_contain_text(seen)
    expect(page.locator("#errors")).to_contain_text("model_cut")
    for title, seen in (("Jobs a minute", "failed"), ("Tokens a second", "tokens"), ("First token", "p50 4")):
        expect(page.locator(f".plot:has-text('{title}') .plot-value")).to_contain_text(seen)
    site.run(registry.heartbeat("pen", b"{}", now, 600_000))
    pen.end()


def test_a_job_that_ends_with_its_watchers_is_not_watched_unasked(visitors: Visitors, site: Site) -> None:
    """An open stream keeps such a job alive: a look must not change what becomes of it."""
    pen = submit(site, cancel_on_disconnect=True).claim()
    page = inspect(visitors, site)
    streams: list[str] = []
    page.on("request", lambda request: streams.append(request.url) if "/events" in request.url else None)
    open_job(page, pen)
    expect(page.locator("#read-along")).to_be_visible()
    assert not streams
    page.click("#read-along")
    expect(page.locator("#event-rows .row")).to_have_count(2)
    pen.end()


def test_the_lines_for_redis_are_those_of_the_cookbook(visitors: Visitors, site: Site) -> None:
    """The cookbook's lines are tried on a Redis by its own test; these say besides which Redis it is."""
    pen = submit(site)
    page = inspect(visitors, site)
    cli = site.get("/v1/status")["redis"]["cli"]
    expect(page.locator("#lines code").first).to_contain_text(cli)
    lines = page.locator("#lines code").all_text_contents()
    open_job(page, pen)
    lines += page.locator("#job-lines code").all_text_contents()
    assert len(lines) > 10
    assert all(line.startswith(f"{cli} ") for line in lines)
    cookbook = REDIS_DOCS.read_text("utf-8").splitlines()
    assert {line.replace(cli, "redis-cli").replace(pen.id, "ID") for line in lines} <= set(cookbook)


def test_filters_are_in_the_address_and_hold_for_what_comes(visitors: Visitors, site: Site) -> None:
    page = inspect(visitors, site)
    mine = submit(site, metadata={"tenant": "acme"})
    other = submit(site, metadata={"tenant": "globex"})
    wait_state(page, other, "queued")
    page.fill("#metadata", "tenant=acme")
    expect(row(page, other)).to_have_count(0)
    expect(row(page, mine)).to_be_visible()
    page.click("#states [value=running]")
    expect(row(page, mine)).to_have_count(0)
    other.claim()
    mine.claim()
    wait_state(page, mine, "running")
    expect(row(page, other)).to_have_count(0)
    assert page.url.endswith("#/?status=running&metadata=tenant%3Dacme")
    page.reload()
    wait_state(page, mine, "running")
    expect(page.locator("#metadata")).to_have_value("tenant=acme")
    mine.end()
    expect(row(page, mine)).to_have_count(0)
    other.end()


def test_a_row_under_the_pointer_stays_there(visitors: Visitors, site: Site) -> None:
    """Jobs that come wait until it leaves: a click would hit another row."""
    pen = submit(site)
    page = inspect(visitors, site)
    wait_state(page, pen, "queued")
    row(page, pen).hover()
    newer = submit(site)
    expect(page.locator("#fresh")).to_contain_text("1 new job")
    expect(row(page, newer)).to_have_count(0)
    pen.claim()
    wait_state(page, pen, "running")
    page.mouse.move(1, 1)
    wait_state(page, newer, "queued")
    pen.end()


def test_the_keyboard_finds_and_opens_a_job(visitors: Visitors, site: Site) -> None:
    pen = submit(site)
    page = inspect(visitors, site)
    wait_state(page, pen, "queued")
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type(pen.id[:8])
    expect(page.locator("#job-rows .row")).to_have_count(1)
    page.locator("#job-scroller").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#job-title")).to_have_text(pen.id)
    expect(page.locator("#job-title")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#overview")).to_be_visible()
    assert re.search(r"#/\?id=", page.url)


def test_a_clock_that_is_off_does_not_change_an_age(visitors: Visitors, site: Site) -> None:
    """Times count by the server's clock."""
    pen = submit(site)
    page = visitors.open("about:blank", alone=True)
    page.add_init_script("const real = Date.now; Date.now = () => real() + 7 * 3600 * 1000;")
    page.goto(f"{site.url}/inspect")
    wait_state(page, pen, "queued")
    expect(row(page, pen).locator(".c-age")).to_have_text(re.compile(r"^\d+ s$|^\d min \d\d s$"))
