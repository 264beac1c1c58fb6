"""Durable Streams' own conformance suite, with jobs for streams (`durable_shim`)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from readalong.api.routes import durable_stream as route
from tests.api.serving import a_log, a_site, on_valkey, short_settings
from tests.clients.durable_shim import Shim
from tests.clients.node_chat import FOLDER

pytestmark = [pytest.mark.usefixtures("node_packages"), on_valkey]

#: Groups of tests of what a log that is only read does not have.
LEFT_OUT: Final = {
    "Fork - ": "streams that begin with a part of another one",
    "Idempotent Producer": "writers that repeat their appends",
    "TTL Expiration Behavior": "times to live that a client sets",
}
#: Tests that fail, and why.
_WRITES: Final = "of the answers to writes"
_RETENTION: Final = "a client sets no time to live: a job has its retention"
FAILS: Final = {
    "Browser Security Headers should include X-Content-Type-Options: nosniff on PUT responses": _WRITES,
    "Browser Security Headers should include X-Content-Type-Options: nosniff on POST responses": _WRITES,
    "TTL and Expiry Edge Cases should reject invalid Expires-At timestamp": _RETENTION,
    "TTL and Expiry Edge Cases should reject idempotent PUT with different TTL": _RETENTION,
    "HEAD Metadata Edge Cases should return TTL metadata if configured": _RETENTION,
    "Stream Closure Edge Cases close-with-different-body-dedup: Retry close with different body deduplicates to "
    "original": _WRITES,
}


async def test_the_read_side_passes_the_conformance_suite(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(route, "_WAIT", 2.0)  # a suite of many long polls
    report = tmp_path / "report.json"
    settings = short_settings(redis_url, origins="https://example.com")
    async with (
        a_log(settings) as log,
        a_site(settings) as site,
        Shim(f"http://127.0.0.1:{site.port}", log).serving() as url,
    ):
        code, out = await run_suite(url, report)
    assert report.exists(), out
    results: list[dict[str, Any]] = [
        test for file in orjson.loads(report.read_bytes())["testResults"] for test in file["assertionResults"]
    ]
    failed = {test["fullName"]: test["failureMessages"] for test in results if test["status"] == "failed"}
    passed = [test["fullName"] for test in results if test["status"] == "passed"]
    assert {name: why for name, why in failed.items() if name not in FAILS} == {}, code
    assert FAILS.keys() - failed.keys() == set(), "these pass by now"
    assert len(passed) > 150


async def run_suite(url: str, report: Path) -> tuple[int | None, str]:
    """Returns the exit code and what was printed."""
    wanted = "^" + "".join(f"(?!.*{group})" for group in LEFT_OUT)
    words = [
        "node_modules/.bin/vitest",
        "run",
        "durable.test.mjs",
        "--reporter=json",
        f"--outputFile={report}",
        "--testTimeout=60000",
    ]
    ran = await asyncio.create_subprocess_exec(
        *words,
        f"--testNamePattern={wanted}",
        cwd=FOLDER,
        env={**os.environ, "DURABLE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await ran.communicate()
    return ran.returncode, out.decode()
