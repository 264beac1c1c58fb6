"""The log lines of a worker about an outage of Redis."""

from __future__ import annotations

import logging

import pytest

from readalong.core.errors import StoreUnavailable
from readalong.process.outage import OutageLogger

_AWAY = StoreUnavailable("Redis does not answer: ConnectionError", retry_after=1)


def test_an_outage_is_a_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Its start, one line in ten seconds, and its end; then the next outage is a new one. A reply between two
    failures ends nothing."""
    now = 0.0
    outage = OutageLogger(lambda: now)
    with caplog.at_level(logging.WARNING):
        outage.over()
        for tenth in range(250):
            now = tenth / 10
            outage.seen(_AWAY)
            outage.over()
        now = 26.5
        outage.over()
        outage.over()
        outage.seen(_AWAY)
    assert caplog.messages == [
        "Redis does not answer: ConnectionError; trying again",
        "Redis does not answer: ConnectionError, for 10 s now",
        "Redis does not answer: ConnectionError, for 20 s now",
        "Redis answers again, after 26.5 s",
        "Redis does not answer: ConnectionError; trying again",
    ]
