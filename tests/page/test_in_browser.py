"""The page in a real browser, against a real API and Redis; the test writes the model's text."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from readalong.core.events import NewEvent
from tests.page.browser import Visitors, wait_for
from tests.page.reader import answer, ask, job_of, wait_answer, wait_status
from tests.page.site import Site

pytestmark = pytest.mark.slow

_LEFT = "(s => s.scrollHeight - s.scrollTop - s.clientHeight)(document.scrollingElement)"


def text(page: Page, selector: str) -> str:
    return page.locator(selector).inner_text()


def turns(page: Page) -> list[str]:
    """The questions and answers on the page."""
    return page.locator(".question, .answer").all_text_contents()


def test_a_question_is_asked_streamed_and_done(page: Page, site: Site) -> None:
    """The page shows each step, the model's text as it arrives, and the metrics."""
    pen = ask(page, site, "What is a log?")
    assert pen.request()["messages"] == [{"role": "user", "content": "What is a log?"}]
    pen.claim()
    wait_status(page, "Waiting for the model")
    pen.say("A log ")
    wait_status(page, "Streaming")
    pen.say("is a list.")
    wait_answer(page, "A log is a list.")
    assert text(page, "#first").endswith(("ms", "s"))
    assert text(page, "#worker") == "cedar · 4711"
    assert text(page, "#attempt") == "1"
    assert text(page, "#position") == "4"
    pen.end()
    wait_status(page, "Done")
    assert text(page, "#first") == "412 ms"
    assert text(page, "#rate") == "35"
    assert page.locator("#follow").text_content() == f"redis-cli --raw subscribe 'readalong:job:{{{pen.id}}}:live'"
    assert page.title().startswith("What is a log? ")
    expect(page.locator("#send")).to_be_visible()


def test_a_second_person_watches_from_the_start_and_can_stop_it(page: Page, visitors: Visitors, site: Site) -> None:
    """Both see the same text, live, and both see the end."""
    pen = ask(page, site, "Tell me.").claim()
    pen.say("One ")
    wait_status(page, "Streaming")
    other = visitors.open(page.url)
    expect(other.locator(".question")).to_have_text("Tell me.")
    wait_answer(other, "One")
    pen.say("two ")
    wait_answer(other, "One two")
    other.click("#stop")
    expect(other.locator("#stop")).to_have_text("Stopping…")
    flag = ""
    while not flag:
        flag = pen.say("more ")
    assert '"client"' in flag
    pen.end("cancelled", by="client")
    for each in (page, other):
        wait_status(each, "Stopped")
    assert answer(page) == answer(other)
    assert answer(page).startswith("One two more")


def test_a_reload_in_mid_stream_goes_on(page: Page, site: Site) -> None:
    """The reloaded page has the text so far, and each further word once. The times are not counted anew."""
    pen = ask(page, site).claim()
    pen.say("Before ")
    wait_answer(page, "Before")
    page.reload()
    wait_answer(page, "Before")
    assert not text(page, "#first").endswith("s")
    pen.say("and after.")
    wait_answer(page, "Before and after.")
    pen.end()
    wait_status(page, "Done")
    page.reload()
    wait_answer(page, "Before and after.")
    wait_status(page, "Done")


def test_a_question_can_wait_for_the_first_answer(page: Page, site: Site) -> None:
    """What is typed meanwhile stays in the box and is not sent."""
    pen = ask(page, site)
    mine = job_of(page)
    page.fill("#question", "The second?")
    page.press("#question", "Enter")
    pen.claim().end()
    wait_status(page, "Done")
    assert job_of(page) == mine
    assert page.input_value("#question") == "The second?"
    page.press("#question", "Enter")
    wait_for(page, "before => !location.search.includes(before)", mine)


def test_a_queued_question_says_how_many_are_before_it(page: Page, visitors: Visitors, site: Site) -> None:
    """The number falls as the queue moves."""
    others = [ask(visitors.open(site.url), site) for _ in range(2)]
    waiting = sum(job["status"] == "queued" for job in site.get("/v1/jobs?status=queued")["jobs"])
    mine = ask(page, site)
    wait_status(page, f"Queued, {waiting} before it")
    others[0].claim().end()
    wait_status(page, f"Queued, {waiting - 1} before it" if waiting > 1 else "Queued, next in line")
    others[1].claim().end()
    mine.claim().end()
    wait_status(page, "Done")


def test_a_new_attempt_voids_the_text_and_says_so(page: Page, site: Site) -> None:
    """The text of a lost worker is not mixed with that of the next attempt."""
    pen = ask(page, site).claim()
    pen.say("The first try")
    wait_answer(page, "The first try")
    pen.claim().say("The second")
    wait_answer(page, "The second")
    expect(page.locator(".restarts")).to_contain_text("attempt 2 (worker lost)")
    pen.end()
    wait_status(page, "Done")


def test_calls_are_readable_blocks(page: Page, site: Site) -> None:
    """Fragments are shown as they arrive, then the whole call. Broken arguments are shown with their fault."""
    pen = ask(page, site).claim()
    pen.write(NewEvent("tool_call_delta", {"index": 0, "id": "a", "name": "weather", "arguments": '{"city"'}))
    expect(page.locator(".call pre")).to_have_text('{"city"')
    pen.write(NewEvent("tool_call_delta", {"index": 1, "id": "b", "name": "clock", "arguments": "{oops"}))
    whole = {"index": 0, "id": "a", "name": "weather", "arguments": {"city": "Paris"}}
    broken: dict[str, Any] = {"index": 1, "id": "b", "name": "clock", "arguments": None}
    broken |= {"arguments_error": "unexpected character", "arguments_text": "{oops"}
    pen.write(NewEvent("tool_call", whole), NewEvent("tool_call", broken))
    pen.write(NewEvent("function_call", {"name": "old", "arguments": {"n": 1}}))
    pen.end(finish_reason="tool_calls")
    wait_status(page, "Done")
    assert [" ".join(call.split()) for call in page.locator(".call").all_inner_texts()] == [
        'Tool call weather { "city": "Paris" }',
        "Tool call clock {oops Invalid JSON in the arguments: unexpected character",
        'Function call old { "n": 1 }',
    ]


def test_reasoning_refusals_and_further_choices_have_places_of_their_own(page: Page, site: Site) -> None:
    """They are not shown as the answer. Reasoning is folded, and opens by a click."""
    pen = ask(page, site).claim()
    pen.say("Hm.", "reasoning")
    wait_status(page, "Reasoning")
    expect(page.locator(".reasoning .md")).to_be_hidden()
    page.click(".reasoning summary")
    expect(page.locator(".reasoning .md")).to_have_text("Hm.")
    pen.say("Yes.")
    pen.say("No.", choice=1)
    pen.say("I will not.", "refusal")
    pen.end()
    wait_status(page, "Done")
    assert text(page, ".reasoning .md") == "Hm."
    assert page.locator(".content .md").all_inner_texts() == ["Yes.", "No."]
    assert page.locator(".content").all_inner_texts()[1].split("\n")[0] == "Choice 2"
    assert text(page, ".refusal .md") == "I will not."


def test_a_failure_says_what_went_wrong(page: Page, site: Site) -> None:
    """The error's message and code are shown beside the text so far."""
    pen = ask(page, site).claim()
    pen.say("Half an")
    error = {"code": "model_cut", "message": "The model broke off.", "retryable": True}
    pen.end("failed", error=error)
    wait_status(page, "Failed")
    assert answer(page) == "Half an"
    assert text(page, ".notes") == "The model broke off. (model_cut)"


def test_a_follow_up_goes_on_in_the_thread_and_a_link_brings_all_back(page: Page, site: Site) -> None:
    """The server keeps the conversation: the second request has the new question only. The link of the last turn
    shows every turn."""
    pen = ask(page, site, "One?").claim()
    pen.say("First.")
    pen.end()
    wait_status(page, "Done")
    thread = site.get(f"/v1/jobs/{pen.id}")["thread"]
    pen = ask(page, site, "Two?").claim()
    assert pen.request()["messages"] == [{"role": "user", "content": "Two?"}]
    assert site.get(f"/v1/jobs/{pen.id}")["thread"] == thread
    pen.say("Second.")
    pen.end()
    wait_status(page, "Done")
    page.reload()
    wait_for(page, "document.querySelectorAll('.turn').length === 2")
    assert turns(page) == ["One?", "First.", "Two?", "Second."]
    pen = ask(page, site, "Three?")
    assert site.get(f"/v1/jobs/{pen.id}")["thread"] == thread
    page.click("#new")
    assert turns(page) == []
    assert job_of(page) == ""


def test_an_edited_question_begins_a_thread_with_what_was_before_it(page: Page, site: Site) -> None:
    """The turns after it go from the page; the old link still shows them."""
    for question, said in (("One?", "First."), ("Two?", "Second."), ("Three?", "Third.")):
        pen = ask(page, site, question).claim()
        pen.say(said)
        pen.end()
        wait_status(page, "Done")
    old, thread = page.url, site.get(f"/v1/jobs/{pen.id}")["thread"]
    page.locator(".turn").nth(1).hover()
    page.locator(".turn").nth(1).locator(".edit").click()
    assert page.input_value("#question") == "Two?"
    pen = ask(page, site, "Two and a half?").claim()
    assert site.get(f"/v1/jobs/{pen.id}")["thread"] != thread
    wanted = [("user", "One?"), ("assistant", "First."), ("user", "Two and a half?")]
    assert [(each["role"], each["content"]) for each in pen.request()["messages"]] == wanted
    pen.say("2.5")
    pen.end()
    wait_status(page, "Done")
    assert turns(page) == ["One?", "First.", "Two and a half?", "2.5"]
    page.goto(old)
    wait_for(page, "document.querySelectorAll('.turn').length === 3")
    assert turns(page)[-1] == "Third."


def test_asking_again_replaces_the_answer(page: Page, site: Site) -> None:
    """The model gets the same question, without the answer that is replaced."""
    pen = ask(page, site, "One?").claim()
    pen.say("Bad.")
    pen.end()
    wait_status(page, "Done")
    page.click(".again")
    wait_for(page, "before => !location.search.includes(before)", pen.id)
    again = site.job(job_of(page)).claim()
    assert again.request()["messages"] == [{"role": "user", "content": "One?"}]
    again.say("Good.")
    again.end()
    wait_answer(page, "Good.")
    wait_status(page, "Done")
    assert turns(page) == ["One?", "Good."]


def test_it_works_where_the_context_is_not_secure(page: Page, site: Site) -> None:
    """A page on plain http from another device has no clipboard API and no randomUUID."""
    page.evaluate("""() => {
        Object.defineProperty(navigator, "clipboard", { value: undefined });
        Object.defineProperty(crypto, "randomUUID", { value: undefined });
        addEventListener("copy", () => { window.copied = document.activeElement.value; });
    }""")
    ask(page, site)
    page.click("#share")
    page.click("#copy")
    expect(page.locator("#copy")).to_have_text("Copied")
    assert page.evaluate("window.copied") == page.url


def test_enter_sends_and_shift_enter_does_not(page: Page) -> None:
    """A question may have several lines. An empty one is not sent."""
    page.type("#question", " ")
    page.press("#question", "Enter")
    page.type("#question", "a")
    page.press("#question", "Shift+Enter")
    page.type("#question", "b")
    assert page.input_value("#question") == " a\nb"
    assert job_of(page) == ""


def test_the_box_grows_with_lines_that_wrap(page: Page) -> None:
    """A long question is seen whole while it is typed, up to a part of the window."""
    low = page.locator("#question").bounding_box()
    page.fill("#question", "many words " * 30)
    high = page.locator("#question").bounding_box()
    page.fill("#question", "many words " * 3000)
    highest = page.locator("#question").bounding_box()
    assert low
    assert high
    assert highest
    assert low["height"] < high["height"] < highest["height"] < 760 / 2
    page.fill("#question", "")
    assert page.locator("#question").bounding_box() == low


def test_the_page_does_not_scroll_for_a_reader_that_scrolled_up(page: Page, site: Site) -> None:
    """Not even for one that has scrolled by a line. A reader at the end stays there."""
    pen = ask(page, site).claim()
    pen.say("line\n\n" * 100)
    wait_for(page, "document.querySelectorAll('.block').length === 100")
    wait_for(page, f"{_LEFT} < 2")
    page.mouse.wheel(0, -20)
    wait_for(page, f"{_LEFT} > 10")
    before = page.evaluate("scrollY")
    pen.say("more\n\n" * 100)
    wait_for(page, "document.querySelectorAll('.block').length === 200")
    assert page.evaluate("scrollY") == before
    page.click("#down")
    wait_for(page, f"{_LEFT} < 2")
    pen.say("last\n\n" * 100)
    wait_for(page, f"document.querySelectorAll('.block').length === 300 && {_LEFT} < 2")


def test_nothing_jumps_while_an_answer_is_written(visitors: Visitors, site: Site) -> None:
    """Not even at its end, when its buttons come: what is on the page stays where it is."""
    page = visitors.open(site.url, viewport={"width": 1000, "height": 1600})
    pen = ask(page, site).claim()
    pen.say("Begin.\n\n")
    wait_answer(page, "Begin.")
    # A source without a node was of the unfinished end, which is drawn anew.
    page.evaluate("""() => {
        window.jumps = [];
        new PerformanceObserver((list) => window.jumps.push(...list.getEntries().flatMap(
          ({ sources }) => sources.flatMap(({ node }) => node?.outerHTML?.slice(0, 200) ?? node?.textContent ?? []))))
          .observe({ type: "layout-shift" });
    }""")
    text = "# Head\n\nA **list**:\n\n1. one\n2. two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n"
    text += "```python\nx = 1\n```\n\n> quoted\n"
    for at in range(0, len(text), 3):
        pen.say(text[at : at + 3])
    pen.end()
    wait_status(page, "Done")
    page.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
    assert page.evaluate("window.jumps") == []


def test_the_rate_is_that_of_the_last_four_seconds(page: Page) -> None:
    """A hundred characters a second are about 25 tokens. The rate of a silent model falls to zero."""
    script = """
        import("/page/rate.js").then(({ Rate }) => {
          const rate = new Rate();
          const early = rate.read(0);
          for (let now = 0; now <= 10_000; now += 10) rate.add(now, 1);
          return [early, Math.round(rate.read(10_000)), rate.read(15_000)];
        })"""
    assert page.evaluate(script) == [None, 25, 0]
