"""A log line is text or JSON, of all loggers of a process."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from readalong.core.settings import Settings
from readalong.process import logs


@contextmanager
def set_up(**settings: str) -> Iterator[None]:
    """As a process does; afterwards the loggers of the test run have what they had."""
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ("", "httpx2", "arq.worker")}
    handlers, root.handlers = root.handlers, []
    try:
        logs.set_up(Settings.model_validate(settings))
        yield
    finally:
        root.handlers = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def test_a_json_line_has_what_the_record_has(capsys: pytest.CaptureFixture[str]) -> None:
    """Its fields by `extra` too, and the traceback; one line each, whatever is in it."""
    with set_up(log_format="json"):
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("readalong.worker.attempt").exception(
                "job %s: broke", "x" * 3, extra={"job": "xxx", "code": {1}}
            )
        logging.getLogger("uvicorn.error").info("a path: \udcff\n", extra={"color_message": "x"})
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first.pop("exception").endswith("ValueError: two\nlines")
    assert first.pop("process") > 1
    assert first == {
        "level": "error",
        "logger": "readalong.worker.attempt",
        "message": "job xxx: broke",
        "job": "xxx",
        "code": "{1}",
    }
    assert (second["message"], "color_message" in second) == ("a path: \udcff\n", False)


@pytest.mark.parametrize("level", ["info", "debug"])
def test_text_lines_name_level_and_logger_and_leave_out_the_chatter(
    capsys: pytest.CaptureFixture[str], level: str
) -> None:
    """arq says `●` of each job that it has run, a failed one too."""
    with set_up(log_level=level):
        logging.getLogger("readalong.api.server").info("serves")
        logging.getLogger("arq.worker").info("0.03s ← x ● ")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith(" INFO readalong.api.server: serves")
    assert len(lines) == (1 if level == "info" else 2)
