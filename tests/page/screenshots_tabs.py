"""The moving picture of the README: two tabs read one answer, the worker is killed, another starts over."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path
from typing import Final

import httpx2
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Browser, Page, expect

from tests.page.browser import Visitors
from tests.support.stack import Stack

_SIZE: Final = {"width": 620, "height": 560}
_STEP: Final = 120
"""Milliseconds between two pictures."""
_GAP: Final = 12
_HEAD: Final = 40


def main(chromium: Browser, docs: Path) -> None:
    settings = {"READALONG_LEASE": "10", "READALONG_MODEL": "demo"}
    with Stack(workers=2, settings=settings) as stack:
        visitors = Visitors(chromium)
        first = visitors.open(stack.url, viewport=_SIZE)
        film = Film()
        first.fill("textarea", "How does this stream reach two tabs?")
        first.keyboard.press("Enter")
        expect(first.locator(".content .md").first).to_be_visible()
        second = visitors.open(first.url, viewport=_SIZE)
        film.takes(first, second, 12, "two tabs read one answer")
        (job,) = httpx2.get(f"{stack.url}/v1/jobs", trust_env=False).json()["jobs"]
        os.kill(job["worker"]["pid"], signal.SIGKILL)
        film.takes(first, second, 28, f"kill -9 {job['worker']['pid']}: its worker is gone, another one starts over")
        visitors.close()
    film.write(docs / "two-tabs.webp")


class Film:
    """Pictures of two pages side by side, with a line above."""

    def __init__(self) -> None:
        self._pictures: list[Image.Image] = []

    def takes(self, first: Page, second: Page, count: int, title: str) -> None:
        for _ in range(count):
            shots = [Image.open(io.BytesIO(page.screenshot())).convert("RGB") for page in (first, second)]
            width = sum(shot.width for shot in shots) + _GAP
            whole = Image.new("RGB", (width, _HEAD + shots[0].height), "#24292f")
            ImageDraw.Draw(whole).text((14, 9), title, fill="white", font=ImageFont.load_default(18))
            for number, shot in enumerate(shots):
                whole.paste(shot, (number * (shot.width + _GAP), _HEAD))
            self._pictures.append(whole)
            first.wait_for_timeout(_STEP)

    def write(self, path: Path) -> None:
        head, *rest = self._pictures
        head.save(path, save_all=True, append_images=rest, duration=_STEP * 2, loop=0, quality=40, method=6)
