"""A headless Chromium, driven through chromedriver's HTTP protocol (W3C WebDriver)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx2

from tests.support.servers import free_port

_START_WITHIN = 120.0  # seconds
_CALL_WITHIN = 120.0
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name for a reference to an element
_FLAGS = (
    "--headless",
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


def missing() -> list[str]:
    """Returns the programs that a browser test needs and that are not on the PATH."""
    found = {"chromium": chromium(), "chromedriver": shutil.which("chromedriver")}
    return [name for name, path in found.items() if path is None]


def chromium() -> str | None:
    """Returns Chromium or Chrome on the PATH."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


class BrowserError(Exception):
    """Raised when the browser does not start, refuses a command, or does not reach an awaited state."""


class Browser:
    """One browser with its own profile. `tab` opens further tabs. End it with `close`, or use it as a context
    manager."""

    def __init__(self, *, width: int = 1000, height: int = 760) -> None:
        self._profile = Path(tempfile.mkdtemp(prefix="readalong-browser-"))
        port = free_port()
        with (self._profile / "driver.log").open("wb") as log:
            self._driver = subprocess.Popen(
                [shutil.which("chromedriver") or "chromedriver", f"--port={port}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._http = httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=_CALL_WITHIN, trust_env=False, verify=False
        )
        self._session = ""
        try:
            self._wait_for_driver()
            self._session = self._new_session(width, height)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends browser and driver, also when they no longer respond, and removes the profile."""
        self._http.close()
        # The browser is in the driver's process group.
        os.killpg(self._driver.pid, signal.SIGKILL)
        self._driver.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def go(self, url: str) -> None:
        self._call("POST", "/frame", id=None)
        self._call("POST", "/url", url=url)

    def reload(self) -> None:
        self._call("POST", "/refresh")

    def tab(self) -> str:
        """Opens a tab and switches to it; returns its handle."""
        handle = str(self._call("POST", "/window/new", type="tab")["handle"])
        self.switch(handle)
        return handle

    def current_tab(self) -> str:
        return str(self._call("GET", "/window"))

    def switch(self, handle: str) -> None:
        self._call("POST", "/window", handle=handle)

    def enter_frame(self) -> None:
        """Switches to the page's first frame, until the next `go`."""
        self._call("POST", "/frame", id=0)

    def run(self, script: str, *arguments: Any) -> Any:
        """Runs the body of a JavaScript function in the page; returns its result."""
        return self._call("POST", "/execute/sync", script=script, args=list(arguments))

    def type(self, selector: str, text: str) -> None:
        """Types into an element with real key strokes; "\ue007" is Enter, "\ue008" holds Shift."""
        self._call("POST", f"/element/{self._find(selector)}/value", text=text)

    def click(self, selector: str) -> None:
        self._call("POST", f"/element/{self._find(selector)}/click")

    def text(self, selector: str) -> str:
        """Returns the text content of the first such element, '' if there is none or if it is hidden."""
        script = "const e = document.querySelector(arguments[0]); return e && e.checkVisibility() ? e.textContent : ''"
        return str(self.run(script, selector))

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 100.0) -> Any:
        """Returns the first true result of `condition`. Raises BrowserError, with the page's text, when there is
        none."""
        deadline = time.monotonic() + seconds
        while not (answer := condition()):
            if time.monotonic() > deadline:
                raise BrowserError(f"no {what} within {seconds:g} s; the page: {self.text('body')[:2000]!r}")
            time.sleep(0.02)
        return answer

    def wait_text(self, selector: str, part: str, seconds: float = 100.0) -> str:
        """Returns the text of an element as soon as it contains `part`."""
        found: str = self.wait(
            lambda: text if part in (text := self.text(selector)) else "", f"{part!r} in {selector}", seconds
        )
        return found

    def complaints(self) -> list[str]:
        """Returns errors and warnings of the console since the last call, except refused requests."""
        entries = self._call("POST", "/se/log", type="browser")
        return [entry["message"] for entry in entries if entry["source"] != "network"]

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Sends a command of Chromium's own protocol, such as Emulation.setEmulatedMedia."""
        return self._call("POST", "/goog/cdp/execute", cmd=command, params=parameters)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def _find(self, selector: str) -> str:
        return str(self._call("POST", "/element", using="css selector", value=selector)[_ELEMENT])

    def _new_session(self, width: int, height: int) -> str:
        options = {
            "binary": chromium(),
            "args": [*_FLAGS, f"--window-size={width},{height}", f"--user-data-dir={self._profile / 'profile'}"],
        }
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "WARNING"}}}
        reply = self._http.post("/session", json={"capabilities": wanted})
        return str(_value(reply)["sessionId"])

    def _wait_for_driver(self) -> None:
        deadline = time.monotonic() + _START_WITHIN
        while True:
            if self._driver.poll() is not None:
                raise BrowserError(f"chromedriver exited: {(self._profile / 'driver.log').read_text()[-500:]}")
            try:
                if _value(self._http.get("/status"))["ready"]:
                    return
            except httpx2.TransportError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def _call(self, method: str, path: str, **body: Any) -> Any:
        content = json.dumps(body).encode() if method == "POST" else None
        return _value(self._http.request(method, f"/session/{self._session}{path}", content=content))


def _value(reply: httpx2.Response) -> Any:
    value = reply.json()["value"]
    if reply.is_error:
        raise BrowserError(f"{value['error']}: {value['message']}")
    return value
