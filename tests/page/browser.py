"""A headless Chromium, driven by Playwright: contexts of their own, and what their consoles complain about."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Frame,
    Page,
    ViewportSize,
    expect,
    sync_playwright,
)

#: Milliseconds for one step: a busy machine must not fail a test.
PATIENCE = 100_000
_VIEWPORT: Final[ViewportSize] = {"width": 1000, "height": 760}
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
    """Returns Chromium or Chrome on the PATH. The headless shell, which has no windows, takes a third of the CPU."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
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
    context = browser.new_context(**{"viewport": _VIEWPORT, "reduced_motion": "reduce", **options})
    context.set_default_timeout(PATIENCE)
    return context


class Tabs:
    """The tabs of one profile. Each is used again: to open one costs as much CPU as all that a test does in it."""

    def __init__(self, browser: Browser) -> None:
        self._profile = new_profile(browser)
        self._free: list[Page] = []

    def take(self) -> Page:
        return self._free.pop() if self._free else self._profile.new_page()

    def give_back(self, page: Page) -> None:
        """Leaves the page's site, and undoes what a test may have set. Init scripts and clocks stay for ever."""
        if page.is_closed():
            return
        page.unroute_all(behavior="ignoreErrors")
        page.mouse.move(0, 0)
        page.goto("about:blank")
        page.set_viewport_size(_VIEWPORT)
        page.emulate_media(color_scheme="null")
        self._free.append(page)


class Visitors:
    """Opens pages, each in one of `tabs`, or in a profile of its own: as another device would have.

    `complaints` has the errors and warnings of all consoles, except of refused requests.
    """

    def __init__(self, browser: Browser, tabs: Tabs | None = None) -> None:
        self._browser = browser
        self._tabs = tabs
        self._contexts: list[BrowserContext] = []
        self._taken: list[Page] = []
        self.complaints: list[str] = []

    def open(self, url: str, *, alone: bool = False, **options: Any) -> Page:
        """Opens the address. With `alone`, or `options` of Playwright's `new_context`, in a profile of its own."""
        if self._tabs is None or alone or options:
            context = new_profile(self._browser, **options)
            self._contexts.append(context)
            page = context.new_page()
        else:
            page = self._tabs.take()
            self._taken.append(page)
        page.on("console", self._hear)
        page.on("pageerror", self._hear_error)
        page.goto(url)
        return page

    def close(self) -> None:
        for context in self._contexts:
            context.close()
        for page in self._taken:
            page.remove_listener("console", self._hear)
            page.remove_listener("pageerror", self._hear_error)
            assert self._tabs is not None
            self._tabs.give_back(page)

    def _hear_error(self, error: Error) -> None:
        self.complaints.append(str(error))

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
        page.wait_for_timeout(30)  # the browser's events are handled meanwhile
    return result
