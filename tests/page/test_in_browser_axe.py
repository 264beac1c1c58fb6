"""axe finds nothing to say against the page, in any of its states."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from readalong.core.events import NewEvent
from tests.page.axe import violations
from tests.page.reader import ask, wait_status
from tests.page.site import Pen, Site

pytestmark = pytest.mark.slow

TEXT = """# A heading

Some **text** with a [link](https://example.com/) and `code`.

- one
- two

| name | count |
| --- | ---: |
| a | 1 |

```python
def f():  # a comment
    return "text", 1
```

> A quote
"""


def write_all(pen: Pen) -> None:
    """Writes an answer of every kind."""
    pen.say("Let me think.", "reasoning")
    pen.say(TEXT)
    pen.write(NewEvent("tool_call", {"index": 0, "id": "a", "name": "weather", "arguments": {"city": "Paris"}}))


def test_axe_finds_no_violation(page: Page, site: Site, node_packages: None) -> None:
    """Empty, while the answer is written, at its end, with the dialog of the link, with an error, and while a question
    is edited."""
    check(page)
    pen = ask(page, site).claim()
    write_all(pen)
    page.wait_for_selector(".coloured")
    page.click(".reasoning summary")
    check(page)
    pen.claim()
    write_all(pen)
    pen.end()
    wait_status(page, "Done")
    page.click("#share")
    page.wait_for_selector("#qr svg")
    check(page)
    page.click("#sharing-close")
    page.hover(".turn")
    page.click(".edit")
    check(page)
    pen = ask(page, site).claim()
    pen.end("failed", error={"code": "model_cut", "message": "The model broke off.", "retryable": True})
    wait_status(page, "Failed")
    check(page)


def check(page: Page) -> None:
    """The colours are all that differs between the schemes."""
    page.emulate_media(color_scheme="light")
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    assert violations(page, rules=["color-contrast", "link-in-text-block"]) == []
