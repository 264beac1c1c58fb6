"""Faults around the page in a real browser: lost replies, an API that restarts, missing jobs."""

from __future__ import annotations

import pytest

from tests.page.browser import Browser
from tests.page.reader import ENTER, answer, ask, job_of
from tests.page.site import Site

pytestmark = pytest.mark.slow

#: Counts the EventSources and their responses; the first one connects to `instead`.
_COUNT = """
    const Real = EventSource; window.opened = []; window.opens = 0; window.instead = null;
    window.EventSource = class extends Real {
      constructor(url) {
        super(window.instead ?? url);
        window.instead = null;
        this.addEventListener("open", () => (window.opens += 1));
        window.opened.push(url);
      }
    };"""


def test_a_repeat_after_a_lost_reply_is_one_job(browser: Browser, site: Site) -> None:
    """The page sends the same key again."""
    browser.run("""
        const real = fetch; window.replies = [];
        window.fetch = async (...args) => {
          const reply = await real(...args);
          window.replies.push((await reply.clone().json()).id);
          if (window.replies.length < 3) throw new TypeError("lost");
          return reply;
        };""")
    pen = ask(browser, site)
    assert browser.run("return window.replies") == [pen.id] * 3


def test_sending_again_after_a_failure_is_one_job(browser: Browser, site: Site) -> None:
    """The reader sees an error, although the job was created, and presses Enter once more."""
    browser.run("""
        const real = fetch; window.replies = [];
        window.fetch = async (...args) => {
          const reply = await real(...args);
          window.replies.push((await reply.clone().json()).id);
          return window.replies.length < 2 ? new Response("{}", { status: 500 }) : reply;
        };""")
    browser.type("#question", "Why?" + ENTER)
    browser.wait_text("#problem", "500")
    browser.type("#question", ENTER)
    browser.wait_text("#status", "Queued")
    assert browser.run("return window.replies") == [job_of(browser)] * 2


def test_an_api_that_restarts_costs_nothing(browser: Browser, site: Site) -> None:
    """The page says that it reconnects, continues from its position, and shows each word once."""
    pen = ask(browser, site).claim()
    pen.say("before ")
    browser.wait_text("#status", "Streaming")
    site.stop_api()
    try:
        browser.wait_text("#away", "reconnecting")
        pen.say("meanwhile ")
    finally:
        site.start_api()
    browser.wait(lambda: answer(browser) == "before meanwhile ", "the missed piece", 30)
    assert browser.text("#away") == ""
    pen.say("after")
    pen.end()
    browser.wait_text("#status", "Done")
    assert answer(browser) == "before meanwhile after"


def test_an_api_that_restarts_while_redis_is_away_costs_no_event_source(browser: Browser, site: Site) -> None:
    """A 503 would end the EventSource for good. It gets comments, and continues when Redis is back."""
    browser.run(_COUNT)
    pen = ask(browser, site).claim()
    pen.say("one ")
    browser.wait_text("#status", "Streaming")
    site.pause_redis()
    try:
        site.stop_api()
        site.start_api()
        browser.wait(lambda: browser.run("return window.opens") == 2, "second answer", 30)
        assert answer(browser) == "one "
    finally:
        site.resume_redis()
    pen.say("two ")
    browser.wait(lambda: answer(browser) == "one two ", "the missed piece", 30)
    pen.end()
    browser.wait_text("#status", "Done")
    assert browser.run("return window.opened") == [f"v1/jobs/{pen.id}/events"]


def test_a_refused_connection_is_tried_again(browser: Browser, site: Site) -> None:
    """EventSource gives up for good after a proxy's error; the page creates a new one."""
    browser.run(_COUNT)
    browser.run("window.instead = 'no/such/path'")
    pen = ask(browser, site).claim()
    pen.say("one ")
    browser.wait(lambda: answer(browser) == "one ", "the piece", 30)
    assert browser.run("return window.opened") == [f"v1/jobs/{pen.id}/events"] * 2
    pen.end()
    browser.wait_text("#status", "Done")


def test_an_unknown_job_is_said_to_be_one(browser: Browser, site: Site) -> None:
    """The page shows the API's own message and stays usable."""
    browser.go(f"{site.url}/?job=AAAAAAAAAAAAAAAAAAAAAA")
    browser.wait_text("#problem", "does not exist")
    ask(browser, site)
    assert browser.text("#problem") == ""


def test_an_erased_job_ends_the_watching(browser: Browser, site: Site) -> None:
    """The page says so, and does not reconnect for ever."""
    pen = ask(browser, site).claim()
    pen.say("some ")
    browser.wait_text("#status", "Streaming")
    site.stop_api()
    browser.wait_text("#away", "reconnecting")
    site.run(site.log.delete(pen.id))
    site.start_api()
    browser.wait_text("#problem", pen.id, 30)
    browser.wait_text("#status", "Failed")
    assert answer(browser) == "some "


def test_an_event_that_comes_again_changes_nothing(browser: Browser) -> None:
    """Numbers rise: an event that is not newer than the position was seen before."""
    script = """
        return import("/page/transcript.js").then(({ applyEvent, emptyTranscript, text }) => {
          const state = emptyTranscript();
          const news = [[1, "a"], [3, "b"], [3, "b"], [2, "c"]].map(
            ([seq, content]) => applyEvent(state, seq, "content", { content }));
          return [news, text(state), state.position];
        });"""
    assert browser.run(script) == [[True, True, False, False], "ab", 3]


def test_a_log_that_redis_has_lost_is_begun_anew(browser: Browser) -> None:
    """Numbers start over after the notice, and the text before it is void."""
    script = """
        return import("/page/transcript.js").then(({ applyEvent, emptyTranscript, text }) => {
          const state = emptyTranscript();
          applyEvent(state, 9, "content", { content: "lost" });
          const lost = applyEvent(state, 3, "restarted", { attempt: 2, reason: "log_lost", worker: null });
          return [lost, applyEvent(state, 4, "content", { content: "new" }), text(state), state.position];
        });"""
    assert browser.run(script) == [True, True, "new", 4]


def test_that_a_job_waits_for_a_worker_is_shown_until_something_comes(browser: Browser) -> None:
    """The notice has no number of its own: it has that of the event before it."""
    script = """
        return import("/page/transcript.js").then(({ applyEvent, emptyTranscript }) => {
          const state = emptyTranscript();
          const seen = [];
          for (const [seq, type, data] of [
            [1, "started", { attempt: 1 }], [1, "waiting", { for: "worker" }], [2, "content", { content: "a" }]]) {
            seen.push(applyEvent(state, seq, type, data), state.waitsFor, state.position);
          }
          return seen;
        });"""
    assert browser.run(script) == [True, None, 1, True, "worker", 1, True, None, 2]
