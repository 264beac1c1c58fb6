"""A page with `useChat` in a browser, versions 6 and 7, both transports: reloaded, offline, stopped, a worker lost.

The page is of another origin than the API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import Browser, Page

from readalong.testing import text_for
from tests.clients.node_chat import paced
from tests.clients.react_page import ReactPage, ReactSite
from tests.page.browser import Visitors, chromium, wait_until
from tests.support.proxy import Proxy, Route
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
    with Stack(apis=2, workers=2, settings={"READALONG_ORIGINS": site.origin}) as stack:
        yield stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visitors(browser: Browser) -> Iterator[Visitors]:
    visitors = Visitors(browser)
    yield visitors
    visitors.close()


@pytest.fixture(scope="module")
def route() -> Iterator[Route]:
    """The browser's way to the API."""
    with Route(0) as route:
        yield route


@pytest.fixture(params=[(6, "default"), (7, "default"), (7, "workflow")], ids=lambda each: f"{each[1]}-{each[0]}")
def opens(request: pytest.FixtureRequest, stack: Stack, site: ReactSite, visitors: Visitors, route: Route) -> Opens:
    """Opens the page with a new chat, whose body has these fields."""
    version, transport = request.param
    lead(route, stack.url)
    api = f"http://127.0.0.1:{route.do(lambda proxy: proxy.port)}"
    return lambda body: ReactPage(visitors, site.address(version), api, transport, body)


def said(body: dict[str, Any], *before: str) -> str:
    """What the demo model answers to the question; `before`: question and answer before it."""
    texts = [*before, QUESTION]
    roles = ["user", "assistant", "user"][-len(texts) :]
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    return text_for({**body, "messages": messages})


def job_of(stack: Stack, page: ReactPage) -> dict[str, Any]:
    found: dict[str, Any] = httpx2.get(f"{stack.urls[1]}/v1/jobs/{page.job()}", trust_env=False, verify=False).json()
    return found


def lead(route: Route, url: str) -> None:
    """New connections go to this API."""
    port = urlsplit(url).port
    route.do(lambda proxy: setattr(proxy, "target", port))


@contextmanager
def offline(tab: Page, route: Route) -> Iterator[None]:
    """The browser has no network in the block, and knows it."""
    tab.context.set_offline(True)
    route.do(Proxy.cut)  # Chromium lets a response that is under way run on
    try:
        yield
    finally:
        tab.context.set_offline(False)


def test_an_answer_is_whole_over_reloads(opens: Opens) -> None:
    """One in mid-stream, one after the end. The next turn follows it."""
    body = paced(150, 100)
    page = opens(body)
    page.ask(QUESTION)
    page.says(200)
    page.tab.reload()
    assert page.ends() == said(body)
    page.tab.reload()
    assert page.ends() == said(body)
    assert page.messages() == ["user", "assistant"]
    page.ask(QUESTION)
    wait_until(page.tab, lambda: page.messages() == ["user", "assistant", "user", "assistant"])
    assert page.ends() == said(body, QUESTION, said(body))


def test_an_answer_is_whole_after_breaks(opens: Opens, stack: Stack, route: Route) -> None:
    """The network is away, an API stops, and the answer ends while the network is away."""
    body = paced(400, 100)
    page = opens(body)
    page.ask(QUESTION)
    page.says(200)
    with offline(page.tab, route):
        page.rests()
    page.says(600)
    stack.apis[0].term()
    lead(route, stack.urls[1])
    page.says(1200)
    with offline(page.tab, route):
        page.rests()
        wait_until(page.tab, lambda: job_of(stack, page)["status"] == "done")
    assert page.ends() == said(body)
    assert page.messages() == ["user", "assistant"]


def test_a_stop_after_a_reload_cancels_the_job(opens: Opens, stack: Stack) -> None:
    """What was said stays in the page."""
    page = opens(paced(3000, 100))
    page.ask(QUESTION)
    page.says(50)
    page.tab.reload()
    page.is_in("streaming")
    shown = page.says(100)
    page.tab.click("#stop")
    wait_until(page.tab, lambda: job_of(stack, page)["status"] == "cancelled")
    assert job_of(stack, page)["metrics"]["chunk_count"] < 3000
    page.is_in("ready")
    assert page.answer().startswith(shown)


def test_a_lost_worker_leaves_one_text(opens: Opens, stack: Stack) -> None:
    body = paced(150, 50)
    page = opens(body)
    page.ask(QUESTION)
    page.says(50)
    stack.worker_of(job_of(stack, page)["worker"]["pid"]).kill()
    assert page.ends() == said(body)
    assert job_of(stack, page)["attempt"] == 2
