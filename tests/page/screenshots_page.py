"""The pictures of the chat page: in mid-stream, on a phone, dark, and the dialog of the link."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tests.page.browser import Visitors
from tests.page.reader import ask, wait_status
from tests.page.site import Pen, Site

_QUESTION = "How do I read a stream in Python?"
_ANSWER = """A **log** keeps every event, so a client may come late. Three things matter:

1. Send the position of the last event, `Last-Event-ID`
2. Show each event once
3. Stop at `done`, `failed` or `cancelled`

```python
from readalong.client import Client

for text in Client("http://127.0.0.1:8000").stream_chat(messages):
    print(text, end="", flush=True)  # resumes by itself
```

| event | text |
| :--- | ---: |
| `content` | a piece |
| `restarted` | none so far |

After a lost worker the next one starts"""


def main(chromium: Browser, docs: Path) -> None:
    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True}
    with Site() as site:
        visitors = Visitors(chromium)
        page, pen = _streaming(visitors, site)
        page.screenshot(path=docs / "page.png")
        page.click("#share")
        page.wait_for_selector("#qr svg")
        page.screenshot(path=docs / "page-share.png")
        dark = visitors.open(page.url.partition("#")[0], color_scheme="dark", viewport={"width": 1000, "height": 940})
        _wait(dark)
        dark.screenshot(path=docs / "page-dark.png")
        small = visitors.open(page.url.partition("#")[0], **phone)
        _wait(small)
        small.screenshot(path=docs / "page-phone.png")
        pen.end()
        visitors.close()
        assert not visitors.complaints


def _streaming(visitors: Visitors, site: Site) -> tuple[Page, Pen]:
    page = visitors.open(site.url, viewport={"width": 1000, "height": 940})
    pen = ask(page, site, _QUESTION).claim()
    pen.say("The user wants to read a stream.", "reasoning")
    for at in range(0, len(_ANSWER), 12):
        pen.say(_ANSWER[at : at + 12])
        page.wait_for_timeout(40)  # a picture shows a rate that models have
    _wait(page)
    return page, pen


def _wait(page: Page) -> None:
    wait_status(page, "Streaming")
    page.wait_for_selector(".coloured .hljs-keyword")
    page.wait_for_selector(f"text={_ANSWER.rpartition(chr(10))[2]}")
