"""A headless Chromium, driven by Playwright: contexts of their own, and what their consoles complain about."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Frame, Page, expect, sync_playwright

#: Milliseconds for one step: a busy machine must not fail a test.
PATIENCE = 100_000
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)

expect.set_options(timeout=PATIENCE)


def missing() -> list[str]:
    """Returns the programs that a browser test needs and that are not on the PATH."""
    return [] if chromium_path() else ["chromium"]


def chromium_path() -> str | None:
    """Returns Chromium or Chrome on the PATH."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yields a browser. Meanwhile this thread has a running event loop: it can run no other."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(_FLAGS), timeout=PATIENCE)
        try:
            yield browser
        finally:
            browser.close()


def new_profile(browser: Browser, **options: Any) -> BrowserContext:
    """Returns a context: a person's profile. `options` are those of Playwright's `new_context`.

    Nothing moves by itself: each frame of an animation would be drawn by the CPU.
    """
    plain: dict[str, Any] = {"viewport": {"width": 1000, "height": 760}, "reduced_motion": "reduce"}
    context = browser.new_context(**{**plain, **options})
    context.set_default_timeout(PATIENCE)
    return context


class Visitors:
    """Opens pages, each as another tab of `profile`, or in a profile of its own: as another device would have.

    `complaints` has the errors and warnings of all consoles, except of refused requests.
    """

    def __init__(self, browser: Browser, profile: BrowserContext | None = None) -> None:
        self._browser = browser
        self._profile = profile
        self._opened: list[Page | BrowserContext] = []
        self.complaints: list[str] = []

    def open(self, url: str, *, alone: bool = False, **options: Any) -> Page:
        """Opens the address. With `alone`, or `options` of Playwright's `new_context`, in a profile of its own."""
        context = self._profile
        if context is None or alone or options:
            context = new_profile(self._browser, **options)
            self._opened.append(context)
        page = context.new_page()
        self._opened.append(page)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(url)
        return page

    def close(self) -> None:
        for each in reversed(self._opened):
            each.close()

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)


def wait_for(page: Page | Frame, script: str, argument: Any = None) -> Any:
    """Returns the first true result of a script. Playwright's own `wait_for_function` needs a policy with eval."""
    return wait_until(page, lambda: page.evaluate(script, argument), script)


def wait_until(page: Page | Frame, condition: Callable[[], Any], what: str = "condition") -> Any:
    """Returns the first true result of `condition`. Raises AssertionError, with the page's text, when there is none."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"never true: {what}; the page: {page.inner_text('body')[:2000]!r}")
        page.wait_for_timeout(20)  # the browser's events are handled meanwhile
    return result
