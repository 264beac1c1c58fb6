"""The pictures of the inspector: the overview with a stuck job, dark, on a phone, and the page of a job."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import orjson
from playwright.sync_api import Browser, Page, expect

from readalong import __version__
from readalong.redis.facade import RedisFacade
from readalong.store.job_index import JobIndex
from readalong.store.job_record import rfc3339
from tests.page.browser import Visitors
from tests.page.inspecting import inspect, open_job, submit
from tests.page.site import METRICS, Pen, Site

_MODELS = ("gpt-5.2-mini", "llama-3.3-70b", "gpt-5.2-mini", "qwen3-32b")
_FAILURE = {"code": "model_timeout", "message": "No first token within 60 s.", "retryable": True}
_LIMIT = {"code": "model_rate_limited", "message": "The model refuses: too many requests.", "retryable": True}
_STEP = 1.05  # of the counted times, as in readalong/store/stats.py


def main(chromium: Browser, docs: Path) -> None:
    phone: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True}
    wide = {"width": 1440, "height": 1000}
    with Site() as site:
        visitors = Visitors(chromium)
        stuck = _scene(site)
        page = _overview(visitors, site, stuck, viewport=wide)
        page.screenshot(path=docs / "inspector.png")
        _overview(visitors, site, stuck, viewport=wide, color_scheme="dark").screenshot(
            path=docs / "inspector-dark.png"
        )
        _overview(visitors, site, stuck, **phone).screenshot(path=docs / "inspector-phone.png")
        open_job(page, stuck)
        expect(page.locator("#event-rows .row").first).to_be_visible()
        page.screenshot(path=docs / "inspector-job.png")
        visitors.close()
        assert not visitors.complaints


def _overview(visitors: Visitors, site: Site, stuck: Pen, **options: Any) -> Page:
    page = inspect(visitors, site, **options)
    expect(page.locator(".finding").first).to_contain_text(stuck.id[:8])
    expect(page.locator("#job-rows .row").nth(3)).to_be_visible()
    expect(page.locator("#errors li").first).to_be_visible()
    return page


def _scene(site: Site) -> Pen:
    """Writes an hour of work, a few jobs and a worker; returns the job that is stuck."""
    now = int(site.run(site.client.time())[0]) * 1000
    for ago in range(60):
        _minute(site, now // 60_000 - ago, 24 + round(14 * math.sin(ago / 7) + 5 * math.cos(ago * 2.3)), ago)
    for number in range(12, 0, -1):
        _ended(site, number, now)
    stuck = submit(site, model="gpt-5.2-mini", metadata={"tenant": "acme"}).claim()
    for word in ["The", "answer", "begins,", "and", "then", "nothing", "comes", "any", "more."]:
        stuck.say(word + " ")
    running = [submit(site, model=model).claim() for model in _MODELS[:3]]
    for pen in running:
        pen.say("Yes, ")
    submit(site, model=_MODELS[1])
    begun = now - 420_000
    times = {"started_at": begun + 9_000, "began": f"1:{begun + 9_000}", "first_token_at": begun + 16_000}
    points = [[16 + at / 2, round(at * 7 + 5 * math.sin(at))] for at in range(65)]
    _change(site, stuck, created_at=begun, last_event_at=begun + 48_000, progress=orjson.dumps(points), **times)
    _sign_of_life(site, now, [stuck, *running])
    ids = [name.decode() for name in site.run(site.client.zrange(site.settings.keys.jobs, 0, -1))]
    site.run(JobIndex(RedisFacade(site.client, site.settings), site.settings).refile(*ids))
    return stuck


def _minute(site: Site, number: int, jobs: int, ago: int) -> None:
    failed = 2 if ago % 9 == 0 else 0
    first, queue = (round(math.log(ms) / math.log(_STEP)) for ms in (380 + 40 * (ago % 5), 12 + 9 * (ago % 4)))
    late = (round(math.log(ms) / math.log(_STEP)) for ms in (1100 + 90 * (ago % 7), 300 + 400 * (ago % 3)))
    counts = {"submitted": jobs + failed, "done": jobs, "failed": failed, "tokens": jobs * 410}
    times = {f"first:{first}": jobs, f"queue:{queue}": jobs}
    times |= {f"{name}:{step}": max(1, jobs // 8) for name, step in zip(("first", "queue"), late, strict=True)}
    errors = {"error:model_timeout": failed} if failed else {}
    site.run(site.client.hset(site.settings.keys.stats(number), mapping={**counts, **times, **errors}))


def _ended(site: Site, number: int, now: int) -> None:
    pen = submit(site, model=_MODELS[number % 4], metadata={"tenant": "acme"}).claim()
    pen.say("Done.")
    if number in (4, 9):
        pen.end("failed", error=_FAILURE if number == 4 else _LIMIT)
    else:
        pen.end()
    seconds = 2.5 + number * 1.7 % 9
    tokens = 90 + number * 67 % 400
    metrics = {
        **METRICS,
        "time_to_first_token": 0.38 + number % 5 / 20,
        "total_seconds": seconds,
        "chunk_count": tokens,
        "tokens_per_second": tokens / seconds,
    }
    created = now - number * 14_000
    _change(site, pen, created_at=created, ended_at=created + int(seconds * 1000), metrics=orjson.dumps(metrics))


def _change(site: Site, pen: Pen, *, created_at: int, **fields: Any) -> None:
    keys = site.settings.keys
    site.run(site.client.hset(keys.job(pen.id), mapping={"created_at": created_at, **fields}))
    site.run(site.client.zadd(keys.jobs, {pen.id: created_at}))


def _sign_of_life(site: Site, now: int, running: list[Pen]) -> None:
    """Takes the place of the one that the site has given."""
    keys, name = site.settings.keys, "cedar-4711-9f3a"
    sign = {
        "host": "cedar",
        "pid": 4711,
        "version": __version__,
        "started_at": rfc3339(now - 86_400_000),
        "at": rfc3339(now),
        "slots": 10,
        "running": [pen.id for pen in running],
        "since": [rfc3339(now - 411_000), *(rfc3339(now - 4000) for _ in running[1:])],
        "lag_seconds": 0.002,
    }
    site.run(site.client.set(keys.worker(name), orjson.dumps(sign), ex=600))
    site.run(site.client.delete(keys.workers))
    site.run(site.client.zadd(keys.workers, {name: now + 600_000}))
