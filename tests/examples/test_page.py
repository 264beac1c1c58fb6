"""The example of a page, in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.clients.asked import answer
from tests.examples.served import endpoint
from tests.page.browser import Visitors, chromium
from tests.support.stack import Stack


@pytest.mark.slow
def test_the_page_reads_the_endpoint_to_its_end(stack: Stack) -> None:
    with endpoint(stack) as url, chromium() as browser:
        visitors = Visitors(browser)
        page = visitors.open(url + "/")
        page.get_by_label("Question").fill("Who reads this?")
        page.get_by_role("button", name="Ask").click()
        expect(page.get_by_role("status")).to_have_text(answer("demo-fast", "Who reads this?"))
        visitors.close()
        # The endpoint's end closes the EventSource: one that reconnected would ask again.
        assert len(stack.generations("Who reads this?")) == 1
        assert not [text for text in visitors.complaints if "favicon" not in text]
