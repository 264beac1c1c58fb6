"""The page in a real browser, against a real API and Redis; the test writes the model's text."""

from __future__ import annotations

import pytest

from readalong.core.events import NewEvent
from tests.page.browser import Browser
from tests.page.reader import ENTER, answer, ask, job_of
from tests.page.site import Site

pytestmark = pytest.mark.slow

SHIFT = "\ue008"
RELEASE = "\ue000"


def open_second_tab(browser: Browser) -> tuple[str, str]:
    """Opens the link in a second tab and stays there; returns both tabs."""
    link, first = browser.run("return location.href"), browser.current_tab()
    second = browser.tab()
    browser.go(link)
    return first, second


def test_a_question_is_asked_streamed_and_done(browser: Browser, site: Site) -> None:
    """The page shows each step, the model's text as it arrives, and the metrics."""
    pen = ask(browser, site, "What is a log?")
    assert pen.request()["messages"] == [{"role": "user", "content": "What is a log?"}]
    pen.claim()
    browser.wait_text("#status", "Waiting for the model")
    pen.say("A log ")
    browser.wait_text("#status", "Streaming")
    pen.say("is a list.")
    browser.wait(lambda: answer(browser) == "A log is a list.", "the answer")
    assert browser.text("#first").endswith(("ms", "s"))
    assert browser.text("#worker") == "cedar · 4711"
    assert browser.text("#attempt") == "1"
    assert browser.text("#position") == "4"
    pen.end()
    browser.wait_text("#status", "Done")
    assert browser.text("#first") == "412 ms"
    assert browser.text("#rate") == "35"
    assert browser.text("#follow") == f"redis-cli --raw subscribe 'readalong:job:{{{pen.id}}}:live'"
    assert browser.text("#send") == "Send"


def test_a_second_tab_watches_from_the_start_and_can_stop_it(browser: Browser, site: Site) -> None:
    """Both tabs show the same text, live, and both show the end."""
    pen = ask(browser, site, "Tell me.").claim()
    pen.say("One ")
    browser.wait_text("#status", "Streaming")
    first, second = open_second_tab(browser)
    browser.wait_text(".question", "Tell me.")
    browser.wait(lambda: answer(browser) == "One ", "the beginning")
    pen.say("two ")
    browser.wait(lambda: answer(browser) == "One two ", "the next piece")
    browser.click("#stop")
    browser.wait_text("#stop", "Stopping")
    flag = browser.wait(lambda: pen.say("three "), "the cancel flag")
    assert '"client"' in flag
    pen.end("cancelled", by="client")
    texts = []
    for tab in (second, first):
        browser.switch(tab)
        browser.wait_text("#status", "Stopped")
        texts.append(answer(browser))
    assert texts[0] == texts[1]
    assert texts[0].startswith("One two three ")


def test_a_tab_that_comes_late_shows_the_rate_of_what_is_new(browser: Browser, site: Site) -> None:
    """Its first event is the merged history: minutes of text that arrive at once are no rate."""
    pen = ask(browser, site).claim()
    pen.write(*(NewEvent("content", {"content": "A word of ten or twenty letters. "}) for _ in range(200)))
    link = browser.run("return location.href")
    browser.tab()
    browser.devtools("Network.enable")
    browser.devtools("Network.setBlockedURLs", urls=["*/events*"])
    browser.go(link)
    browser.wait_text("#away", "reconnecting")
    # Arrives between the page's request for the job and its events.
    pen.say("One more. ")
    browser.devtools("Network.setBlockedURLs", urls=[])
    browser.wait(lambda: answer(browser).endswith("One more. "), "the history")
    shown = browser.wait(lambda: "≈" in (rate := browser.text("#rate")) and rate, "a rate")
    assert float(shown.removeprefix("≈ ").replace(",", "")) < 20
    pen.end()
    browser.wait_text("#status", "Done")


def test_a_silence_in_mid_stream_is_not_called_streaming(browser: Browser, site: Site) -> None:
    """If a worker died, Redis is away or the model stalls, no text arrives, and the page says so."""
    pen = ask(browser, site).claim()
    pen.say("Once")
    browser.wait_text("#status", "Streaming")
    browser.wait_text("#status", "Waiting for the next word")
    pen.say(" more")
    browser.wait_text("#status", "Streaming")
    pen.end()
    browser.wait_text("#status", "Done")


def test_a_queued_job_can_be_stopped(browser: Browser, site: Site) -> None:
    """It needs no worker."""
    ask(browser, site)
    browser.click("#stop")
    browser.wait_text("#status", "Stopped")
    assert browser.text("#send") == "Send"


def test_a_question_waits_for_the_end_of_the_answer_before_and_the_page_says_so(browser: Browser, site: Site) -> None:
    pen = ask(browser, site, "The first?").claim()
    pen.say("Well")
    browser.wait_text("#keys", "Stop it, or wait")
    mine = job_of(browser)
    browser.type("#question", "The second?" + ENTER)
    pen.end()
    browser.wait_text("#keys", "Enter sends")
    assert job_of(browser) == mine
    assert browser.run("return document.getElementById('question').value") == "The second?"
    browser.type("#question", ENTER)
    browser.wait(lambda: job_of(browser) != mine, "the second question")


def test_a_new_attempt_voids_the_text_and_says_so(browser: Browser, site: Site) -> None:
    """The text of a lost worker is not mixed with that of the next attempt."""
    pen = ask(browser, site).claim()
    pen.say("The first try")
    browser.wait_text(".answer", "The first try")
    pen.claim().say("The second")
    browser.wait_text(".restarts + .answer", "The second")
    assert "attempt 2 (worker lost)" in browser.text(".restarts")
    assert answer(browser) == "The second"
    pen.end()
    browser.wait_text("#status", "Done")


def test_calls_are_readable_blocks(browser: Browser, site: Site) -> None:
    """Fragments are shown as they arrive, then the whole call. Broken arguments are shown with their fault."""
    pen = ask(browser, site).claim()
    pen.write(NewEvent("tool_call_delta", {"index": 0, "id": "a", "name": "weather", "arguments": '{"city"'}))
    browser.wait_text(".call pre", '{"city"')
    pen.write(NewEvent("tool_call_delta", {"index": 1, "id": "b", "name": "clock", "arguments": "{oops"}))
    pen.write(
        NewEvent("tool_call", {"index": 0, "id": "a", "name": "weather", "arguments": {"city": "Paris"}}),
        NewEvent(
            "tool_call",
            {
                "index": 1,
                "id": "b",
                "name": "clock",
                "arguments": None,
                "arguments_error": "unexpected character",
                "arguments_text": "{oops",
            },
        ),
        NewEvent("function_call", {"name": "old", "arguments": {"n": 1}}),
    )
    pen.end(finish_reason="tool_calls")
    browser.wait_text("#status", "Done")
    calls = browser.run("return [...document.querySelectorAll('.call')].map((call) => call.innerText)")
    assert [" ".join(call.split()) for call in calls] == [
        'Tool call weather { "city": "Paris" }',
        "Tool call clock {oops Invalid JSON in the arguments: unexpected character",
        'Function call old { "n": 1 }',
    ]


def test_reasoning_refusals_and_further_choices_have_places_of_their_own(browser: Browser, site: Site) -> None:
    """They are not shown as the answer."""
    pen = ask(browser, site).claim()
    pen.say("Hm.", "reasoning")
    pen.say("Yes.")
    pen.say("No.", choice=1)
    pen.say("I will not.", "refusal")
    pen.end()
    browser.wait_text("#status", "Done")
    assert browser.text(".reasoning .text") == "Hm."
    assert browser.text(".content .text") == "Yes."
    assert browser.text(".content:nth-of-type(2)") == "Choice 2No."
    assert browser.text(".refusal .text") == "I will not."


def test_a_failure_says_what_went_wrong(browser: Browser, site: Site) -> None:
    """The error's message and code are shown beside the text so far."""
    pen = ask(browser, site).claim()
    pen.say("Half an")
    error = {"code": "model_cut", "message": "The model broke off.", "retryable": True}
    pen.end("failed", error=error)
    browser.wait_text("#status", "Failed")
    assert answer(browser) == "Half an"
    assert browser.text(".notes") == "The model broke off. (model_cut)"


def test_text_stays_text(browser: Browser, site: Site) -> None:
    """Markup, odd line ends and long lines are shown unchanged."""
    text = "<img src=x onerror=alert(1)> & \u2028 \u05d0 \U0001f469\u200d\U0001f467\n\n  indented\n" + "line\n" * 3000
    pen = ask(browser, site, "<b>bold</b>").claim()
    pen.say(text)
    pen.end()
    browser.wait_text("#status", "Done")
    assert answer(browser) == text
    assert browser.text(".question") == "<b>bold</b>"
    assert browser.run("return document.querySelectorAll('.turn img, .turn b').length") == 0


def test_a_follow_up_sends_the_conversation_and_a_link_brings_it_back(browser: Browser, site: Site) -> None:
    """The model gets every turn, and the link of the last turn shows every turn."""
    pen = ask(browser, site, "One?").claim()
    pen.say("First.")
    pen.end()
    browser.wait_text("#status", "Done")
    pen = ask(browser, site, "Two?").claim()
    wanted = [("user", "One?"), ("assistant", "First."), ("user", "Two?")]
    assert [(each["role"], each["content"]) for each in pen.request()["messages"]] == wanted
    pen.say("Second.")
    pen.end()
    browser.wait_text("#status", "Done")
    browser.reload()
    shown = "return [...document.querySelectorAll('.question, .answer')].map((each) => each.textContent)"
    browser.wait(lambda: browser.run(shown) == ["One?", "First.", "Two?", "Second."], "both turns")
    pen = ask(browser, site, "Three?")
    assert len(pen.request()["messages"]) == 5
    browser.click("#new")
    assert browser.run(shown) == []
    assert job_of(browser) == ""


def test_it_works_where_the_context_is_not_secure(browser: Browser, site: Site) -> None:
    """A page on plain http from another device has no clipboard API and no randomUUID."""
    browser.run("""
        Object.defineProperty(navigator, "clipboard", { value: undefined });
        Object.defineProperty(crypto, "randomUUID", { value: undefined });""")
    browser.run("addEventListener('copy', () => { window.copied = document.activeElement.value; })")
    ask(browser, site)
    browser.click("#copy")
    browser.wait_text("#copy", "Copied")
    assert browser.run("return window.copied") == browser.run("return location.href")


def test_enter_sends_and_shift_enter_does_not(browser: Browser) -> None:
    """A question may have several lines. An empty one is not sent."""
    browser.type("#question", f" {ENTER}a{SHIFT}{ENTER}{RELEASE}b")
    assert browser.run("return document.querySelector('#question').value") == " a\nb"
    assert job_of(browser) == ""


def test_the_page_does_not_scroll_for_a_reader_that_scrolled_up(browser: Browser, site: Site) -> None:
    """A reader at the end stays at the end."""
    left = "const s = document.scrollingElement; return s.scrollHeight - s.scrollTop - s.clientHeight"
    pen = ask(browser, site).claim()
    pen.say("line\n" * 100)
    browser.wait(lambda: len(answer(browser)) == 500 and browser.run(left) < 2, "the end of the page")
    browser.run("scrollTo(0, 100)")
    browser.wait(lambda: browser.run("return scrollY") == 100, "scroll")
    pen.say("more\n" * 100)
    browser.wait(lambda: len(answer(browser)) == 1000, "more text")
    assert browser.run("return scrollY") == 100
    browser.run("scrollTo(0, document.scrollingElement.scrollHeight)")
    browser.wait(lambda: browser.run(left) < 2, "scroll")
    pen.say("last\n" * 100)
    browser.wait(lambda: len(answer(browser)) == 1500 and browser.run(left) < 2, "the end of the page")


def test_it_fits_a_phone(browser: Browser, site: Site) -> None:
    """Nothing is wider than 360 pixels, not even a word or a call without spaces."""
    browser.devtools("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1, mobile=True)
    try:
        pen = ask(browser, site, "w" * 200).claim()
        pen.say("w" * 500)
        pen.write(NewEvent("tool_call", {"index": 0, "id": "a", "name": "n" * 90, "arguments": {"k" * 90: "v" * 90}}))
        pen.end()
        browser.wait_text("#status", "Done")
        assert browser.run("return document.scrollingElement.scrollWidth") == 360
    finally:
        browser.devtools("Emulation.clearDeviceMetricsOverride")


def test_the_rate_is_that_of_the_last_four_seconds(browser: Browser) -> None:
    """A hundred characters a second are about 25 tokens. The rate of a silent model falls to zero."""
    script = """
        return import("/page/rate.js").then(({ Rate }) => {
          const rate = new Rate();
          const early = rate.read(0);
          for (let now = 0; now <= 10_000; now += 10) rate.add(now, 1);
          return [early, Math.round(rate.read(10_000)), rate.read(15_000)];
        });"""
    assert browser.run(script) == [None, 25, 0]
