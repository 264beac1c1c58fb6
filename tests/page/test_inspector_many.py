"""The inspector with 100,000 jobs: only the rows in view are in the document, and any job is found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.page.browser import Visitors
from tests.page.inspecting import inspect, submit, wait_state
from tests.page.site import Pen, Site

pytestmark = pytest.mark.slow

COUNT = 100_000
_AT_ONCE = 5_000  # copies: Redis is busy meanwhile

#: Copies the hash of an ended job, each copy a second older, into the lists of all jobs, of done ones and of ids.
_COPY = """
local fields = redis.call('HGETALL', KEYS[1])
local place = {}
for at = 1, #fields, 2 do place[fields[at]] = at + 1 end
local created = tonumber(fields[place.created_at])
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local id = string.format('copy-%017d', number)
  local at = string.format('%d', created - number * 1000)
  fields[place.id], fields[place.created_at] = id, at
  redis.call('HSET', ARGV[3] .. id .. ARGV[4], unpack(fields))
  redis.call('ZADD', KEYS[2], at, id)
  redis.call('ZADD', KEYS[3], at, id)
  redis.call('ZADD', KEYS[4], 0, id)
end
"""


@pytest.fixture(scope="module")
def crowded() -> Iterator[Site]:
    with Site(aof=False) as site:
        pen = submit(site).claim()
        pen.end()
        keys = site.settings.keys
        head, tail = keys.job("?").split("?")
        names = (keys.job(pen.id), keys.jobs, keys.jobs_in("done"), keys.ids)
        for first in range(1, COUNT + 1, _AT_ONCE):
            site.run(site.client.eval(_COPY, len(names), *names, first, first + _AT_ONCE - 1, head, tail))
        yield site


def test_a_hundred_thousand_jobs_are_as_usable_as_ten(visitors: Visitors, crowded: Site) -> None:
    """The document has a bounded number of elements however far one scrolls, the oldest job is found by its id, and a
    new one appears at once."""
    page = inspect(visitors, crowded)
    expect(page.locator("#count-done")).to_have_text("100,000")
    expect(page.locator("#job-rows .row").first).to_be_visible()
    for loaded in (200, 300, 400, 500):
        page.evaluate("document.querySelector('#job-scroller').scrollTop = 1e9")
        page.wait_for_function(
            "count => Number(document.querySelector('#loaded').textContent.replace(/\\D/g, '')) >= count", arg=loaded
        )
    assert page.locator("#job-rows .row").count() < 60
    assert page.evaluate("document.querySelectorAll('*').length") < 1500
    page.evaluate("document.querySelector('#job-scroller').scrollTop = 0")
    wait_state(page, submit(crowded), "queued")
    oldest = Pen(crowded, f"copy-{COUNT:017d}")
    page.fill("#search", oldest.id[:-1])
    expect(page.locator("#job-rows .row")).to_have_count(1)
    wait_state(page, oldest, "done")
