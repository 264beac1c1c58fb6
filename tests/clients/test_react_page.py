"""A page with `useChat` in a browser, versions 6 and 7, both transports: reloaded, offline, stopped, a worker lost.

The page is of another origin than the API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from readalong.testing import text_for
from tests.clients.react_page import ReactPage, ReactSite
from tests.page.browser import Browser
from tests.support.stack import Stack

Opens = Callable[[dict[str, Any]], ReactPage]

QUESTION = "How?"


@pytest.fixture(scope="module")
def site(node_packages: None) -> Iterator[ReactSite]:
    with ReactSite() as site:
        yield site


@pytest.fixture(scope="module")
def running_stack(site: ReactSite) -> Iterator[Stack]:
    """A stack that allows the page's origin."""
    with Stack(workers=2, settings={"READALONG_ORIGINS": site.origin}) as stack:
        yield stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        browser.devtools("Network.enable")
        yield browser


@pytest.fixture(params=[(6, "default"), (7, "default"), (7, "workflow")], ids=lambda each: f"{each[1]}-{each[0]}")
def opens(request: pytest.FixtureRequest, stack: Stack, site: ReactSite, browser: Browser) -> Opens:
    """Opens the page with a new chat, whose body has these fields."""
    version, transport = request.param
    return lambda body: ReactPage(browser, site, stack.url, version, transport, body)


def paced(tokens: int, rate: float) -> dict[str, Any]:
    """The body's fields: so many tokens at this rate."""
    return {"model": "demo", "demo": {"tokens": tokens, "tokens_per_second": rate, "first_token_seconds": 0}}


def said(body: dict[str, Any]) -> str:
    """What the demo model answers to the question."""
    return text_for({**body, "messages": [{"role": "user", "content": QUESTION}]})


def job_of(stack: Stack, page: ReactPage) -> dict[str, Any]:
    found: dict[str, Any] = httpx2.get(f"{stack.url}/v1/jobs/{page.job()}", trust_env=False, verify=False).json()
    return found


def set_offline(browser: Browser, offline: bool) -> None:
    browser.devtools(
        "Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=-1
    )


def test_an_answer_is_whole_over_reloads(opens: Opens) -> None:
    """One in mid-stream, one after the end. The next turn follows it."""
    body = paced(300, 100)
    page = opens(body)
    page.ask(QUESTION)
    page.says(200)
    page.browser.reload()
    page.says(400)
    assert page.ends() == said(body)
    page.browser.reload()
    page.browser.wait_text("#status", "ready")
    assert (page.messages(), page.answer()) == (["user", "assistant"], said(body))
    page.ask("And why?")
    page.browser.wait(lambda: page.messages() == ["user", "assistant"] * 2, "the second answer")
    assert page.ends() != said(body)


def test_a_page_that_was_offline_goes_on(opens: Opens) -> None:
    """The text is there once."""
    body = paced(300, 100)
    page = opens(body)
    page.ask(QUESTION)
    page.says(200)
    set_offline(page.browser, True)
    try:
        page.browser.wait_text("#status", "error")
    finally:
        set_offline(page.browser, False)
    page.browser.wait_text("#status", "streaming")
    assert page.ends() == said(body)
    assert page.messages() == ["user", "assistant"]


def test_a_stop_after_a_reload_cancels_the_job(opens: Opens, stack: Stack) -> None:
    page = opens(paced(3000, 100))
    page.ask(QUESTION)
    page.says(50)
    page.browser.reload()
    page.says(50)
    page.browser.click("#stop")
    page.ends()
    page.browser.wait(lambda: job_of(stack, page)["status"] == "cancelled", "the job's end")
    [made] = stack.generations(QUESTION)
    assert made["tokens"] < 3000


def test_a_lost_worker_leaves_one_text(opens: Opens, stack: Stack) -> None:
    body = paced(150, 50)
    page = opens(body)
    page.ask(QUESTION)
    page.says(50)
    stack.worker_of(job_of(stack, page)["worker"]["pid"]).kill()
    assert page.ends() == said(body)
    assert job_of(stack, page)["attempt"] == 2
