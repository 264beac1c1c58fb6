"""Job options: the request's take precedence over the settings."""

from __future__ import annotations

from typing import Any

import pytest

from readalong.core.options import OPTION_FIELDS, JobOptions, resolve
from readalong.core.settings import Settings
from tests.readalong.jobs import submission

UNSAID: dict[str, Any] = dict.fromkeys(OPTION_FIELDS)


@pytest.mark.parametrize(
    ("setting", "jobs", "chats"), [("chat", False, True), ("always", True, True), ("never", False, False)]
)
def test_the_settings_say_what_the_request_does_not(setting: Any, jobs: bool, chats: bool) -> None:
    settings = Settings(on_worker_lost="fail", job_deadline=7, cancel_on_disconnect=setting)
    assert resolve(settings, chat=False, **UNSAID) == JobOptions("fail", 7, jobs)
    assert resolve(settings, chat=True, **UNSAID) == JobOptions("fail", 7, chats)


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("said", [JobOptions("retry", 3.5, True), JobOptions("fail", 0.5, False)])
def test_the_request_comes_before_the_settings(chat: bool, said: JobOptions) -> None:
    settings = Settings(on_worker_lost="fail", job_deadline=7, cancel_on_disconnect="always")
    words = {name: value for name, value in said._asdict().items() if name in OPTION_FIELDS}
    assert resolve(settings, chat=chat, **words) == said


@pytest.mark.parametrize(
    ("seconds", "ms"), [(0, 0), (5e-324, 1), (0.0009, 1), (0.29, 290), (31_536_000, 31_536_000_000)]
)
def test_a_deadline_too_short_to_be_counted_is_not_none(seconds: float, ms: int) -> None:
    """In a job's hash, 0 means no deadline."""
    assert submission(terms=JobOptions(deadline=seconds)).deadline_ms == ms


def test_the_names_are_those_of_the_options() -> None:
    """The worker removes OPTION_FIELDS from the model's request: a missed option would be a 400 there. The grace is
    part of `cancel_on_disconnect`."""
    assert set(JobOptions._fields) - {"grace"} == OPTION_FIELDS
