"""All loggers of a process write text lines or JSON lines."""

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
    """Sets up logging as a process does; afterwards restores the loggers of the test run."""
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
    """It also has the fields of `extra` and the traceback. Each record is one line, whatever its message contains."""
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
    """arq logs `●` for each job that has run, also for a failed one."""
    with set_up(log_level=level):
        logging.getLogger("readalong.api.server").info("serves")
        logging.getLogger("arq.worker").info("0.03s ← x ● ")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith(" INFO readalong.api.server: serves")
    assert len(lines) == (1 if level == "info" else 2)
