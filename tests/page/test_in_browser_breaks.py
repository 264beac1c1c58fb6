"""Faults around the page in a real browser: lost replies, an API that restarts, no network, missing jobs."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Route, expect

from tests.page.browser import Visitors, wait_for, wait_until
from tests.page.reader import answer, ask, job_of, wait_answer, wait_status
from tests.page.site import Site
from tests.page.way import Way
from tests.support.proxy import Proxy

pytestmark = pytest.mark.slow


def test_a_repeat_after_a_lost_reply_is_one_job(page: Page, site: Site) -> None:
    """The page sends the same key again."""
    losing = _Losing(2)
    page.route("**/v1/jobs", losing)
    pen = ask(page, site)
    assert len(losing.keys) == 3
    assert len(set(losing.keys)) == 1
    assert [job["id"] for job in site.get("/v1/jobs")["jobs"]].count(pen.id) == 1


class _Losing:
    """Sends the request on, and loses the first replies."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.keys: list[str | None] = []

    def __call__(self, route: Route) -> None:
        self.keys.append(route.request.headers.get("idempotency-key"))
        reply = route.fetch()
        if len(self.keys) <= self._count:
            route.abort("connectionreset")
        else:
            route.fulfill(response=reply)


def test_sending_again_after_a_failure_is_one_job(page: Page, site: Site) -> None:
    """The reader sees an error, although the job was created, and presses Enter once more."""
    made: list[str] = []

    def fail_once(route: Route) -> None:
        reply = route.fetch()
        made.append(reply.json()["id"])
        if len(made) == 1:
            route.fulfill(status=418, body="{}")
        else:
            route.fulfill(response=reply)

    page.route("**/v1/jobs", fail_once)
    page.fill("#question", "Why?")
    page.press("#question", "Enter")
    expect(page.locator("#problem")).to_contain_text("418")
    page.press("#question", "Enter")
    wait_status(page, "Queued")
    assert made == [job_of(page)] * 2


def test_an_api_that_restarts_costs_nothing(page: Page, site: Site) -> None:
    """The page says that it reconnects, continues from its position, and shows each word once."""
    pen = ask(page, site).claim()
    pen.say("before ")
    wait_status(page, "Streaming")
    site.stop_api()
    try:
        expect(page.locator("#away")).to_have_text("reconnecting…")
        pen.say("meanwhile ")
    finally:
        site.start_api()
    wait_answer(page, "before meanwhile")
    expect(page.locator("#away")).to_have_text("")
    pen.say("after")
    pen.end()
    wait_status(page, "Done")
    assert answer(page) == "before meanwhile after"


def test_an_api_that_restarts_while_redis_is_away_costs_nothing(page: Page, site: Site) -> None:
    """The page goes on when Redis is back."""
    pen = ask(page, site).claim()
    pen.say("one ")
    wait_status(page, "Streaming")
    site.pause_redis()
    try:
        site.stop_api()
        with page.expect_response(f"**/v1/jobs/{pen.id}/events*"):
            site.start_api()
        assert answer(page) == "one"
    finally:
        site.resume_redis()
    pen.say("two ")
    wait_answer(page, "one two")
    pen.end()
    wait_status(page, "Done")


def test_a_question_that_redis_cannot_take_is_kept(page: Page, site: Site) -> None:
    """The page says what is the matter, leaves the question in the box, and sends it when Redis is back."""
    site.pause_redis()
    try:
        page.fill("#question", "Why?")
        page.press("#question", "Enter")
        expect(page.locator("#send")).to_have_text("Sending…")
    finally:
        site.resume_redis()
    wait_status(page, "Queued")
    site.job(job_of(page)).claim().end()
    wait_status(page, "Done")


def test_a_page_without_network_goes_on_where_it_was(visitors: Visitors, site: Site, way: Way) -> None:
    """The answer is written and ends meanwhile. The page says that it is offline."""
    page = visitors.open(way.url, alone=True)
    pen = ask(page, site).claim()
    pen.say("before ")
    wait_status(page, "Streaming")
    page.context.set_offline(True)
    way.do(Proxy.cut)  # a browser in offline mode lets its connections run on
    expect(page.locator("#away")).to_contain_text("offline")
    pen.say("meanwhile ")
    pen.say("and the end")
    pen.end()
    page.context.set_offline(False)
    wait_answer(page, "before meanwhile and the end")
    wait_status(page, "Done")


def test_a_page_that_nobody_sees_gives_its_connection_back(visitors: Visitors, site: Site) -> None:
    """A browser has six for all tabs of a site. When the page is seen again, it goes on where it was."""
    page = visitors.open("about:blank", alone=True)
    page.clock.install()
    page.goto(site.url)
    pen = ask(page, site).claim()
    pen.say("before ")
    wait_answer(page, "before")
    see = """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    with page.expect_event("requestfailed", lambda request: "/events" in request.url):
        page.evaluate(see, True)
        page.clock.run_for(31_000)
    pen.say("meanwhile")
    page.evaluate(see, False)
    page.clock.resume()
    wait_answer(page, "before meanwhile")
    pen.end()
    wait_status(page, "Done")


def test_a_refused_connection_is_tried_again(page: Page, site: Site) -> None:
    """A proxy's error page is no end."""
    page.route("**/events*", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"), times=2)
    pen = ask(page, site).claim()
    pen.say("one ")
    wait_answer(page, "one")
    pen.end()
    wait_status(page, "Done")


def test_an_unknown_job_is_said_to_be_one(page: Page, site: Site) -> None:
    """The page shows the API's own message and stays usable."""
    page.goto(f"{site.url}/?job=AAAAAAAAAAAAAAAAAAAAAA")
    expect(page.locator("#problem")).to_contain_text("does not exist")
    ask(page, site).claim().end()
    expect(page.locator("#problem")).to_be_hidden()


def test_an_erased_job_ends_the_watching(visitors: Visitors, site: Site, way: Way) -> None:
    """The page says so, keeps what it has, and does not reconnect for ever."""
    page = visitors.open(way.url)
    pen = ask(page, site).claim()
    pen.say("some ")
    wait_status(page, "Streaming")
    way.shut()
    expect(page.locator("#away")).to_have_text("reconnecting…")
    site.run(site.log.delete(pen.id))
    way.open()
    expect(page.locator("#problem")).to_contain_text(pen.id)
    wait_status(page, "Not kept")
    assert answer(page).strip() == "some"
    expect(page.locator("#send")).to_be_visible()


@pytest.mark.parametrize(
    ("path", "field", "usable"),
    [("/", "#question", "#send:not([disabled])"), ("/inspect", "#search", "#link[data-state=live]")],
)
def test_a_slow_network_costs_two_trips_to_a_usable_page(
    path: str, field: str, usable: str, visitors: Visitors, site: Site
) -> None:
    """The second one is for all files at once: a browser opens six connections. What is typed meanwhile stays."""
    page = visitors.open("about:blank")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/page/**", hold)
    page.goto(site.url + path, wait_until="commit")
    wait_for(page, "document.readyState !== 'loading'")
    scripts = page.locator("script").evaluate_all("all => all.map((each) => each.src)")
    wait_until(page, lambda: {*scripts} <= {route.request.url for route in held})
    assert page.locator(usable).count() == 0
    page.type(field, "typed early")
    first = len(held)
    assert first <= 6
    for route in held[:first]:
        route.continue_()
    page.wait_for_selector(usable)
    later = [route.request.url for route in held[first:]]
    assert not [url for url in later if not url.endswith("icon.svg")]
    assert page.input_value(field) == "typed early"


def test_a_page_that_comes_back_asks_for_its_html_alone(page: Page, site: Site) -> None:
    """Its files are in the browser's cache, under the version that the HTML names."""
    page.goto(site.url)
    kept = "performance.getEntriesByType('resource').filter(({ name }) => name.includes('/page/'))"
    sizes = page.evaluate(f"{kept}.map(({{ transferSize }}) => transferSize)")
    assert len(sizes) > 3
    assert not any(sizes)
