"""Trouble that lasts is told while it lasts, whatever the reader waits for then."""

from __future__ import annotations

from threading import Event, Timer

import pytest

from readalong.cli import trouble
from readalong.cli.job_streams import Streams
from readalong.cli.trouble import Trouble
from tests.cli.conftest import Run
from tests.cli.samples import FIRST
from tests.cli.scripted_api import Handler, ScriptedApi, answer, change, done, stream, text

OVER = answer(410, {"detail": "It is over."})


@pytest.mark.parametrize("waits", ["for its next try", "for an answer"])
@pytest.mark.parametrize("reader", ["follower", "changes"])
def test_it_is_told_once_while_the_reader_waits_and_its_end_too(
    api: ScriptedApi, run: Run, monkeypatch: pytest.MonkeyPatch, *, reader: str, waits: str
) -> None:
    """The wait ends when it has been told."""
    told = Event()
    note = Streams.note

    def noted(streams: Streams[object], name: str, line: str) -> None:
        note(streams, name, line)
        told.set()

    def slow(handler: Handler) -> None:
        assert waits != "for an answer" or told.wait(60)
        answer(503)(handler)

    def sleep(_: float) -> None:
        assert waits != "for its next try" or told.wait(60)

    monkeypatch.setattr(trouble, "QUIET_SECONDS", 0.01)
    monkeypatch.setattr(f"readalong.cli.{reader}.sleep", sleep)
    monkeypatch.setattr(Streams, "note", noted)
    words, first, last = (
        (["watch", FIRST], stream(text(1, "a")), stream(text(2, "b"), done(3)))
        if reader == "follower"
        else (["jobs", "--follow"], answer(503), stream(change("erased", id=FIRST)))
    )
    api.routes["GET /v1/jobs"] = answer(200, {"jobs": [], "next": None})
    api.acts += [first, slow, last, OVER]
    lines = run(*words).stderr.splitlines()
    away = f"the API at {api.url} is not available; trying again for 60 s"
    assert lines[:2] == [away, "connected again"]
    assert lines.count(away) == 1


def test_a_connection_that_is_open_and_quiet_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next word may take minutes. If the connection breaks without one, the trouble has lasted since it began."""
    timers: list[Timer] = []
    now = [0.0]

    def start(timer: Timer) -> None:
        timers.append(timer)

    monkeypatch.setattr(trouble, "monotonic", lambda: now[0])
    monkeypatch.setattr(Timer, "start", start)
    told: list[str] = []
    reader = Trouble(60, told.append)
    reader.failed("it is away")
    now[0] = 1.5
    reader.pause()
    assert reader.failed("it broke") == 1.5
    assert [timer.interval for timer in timers] == [2.0, 0.5]
    timers[0].function()
    assert told == []
    timers[1].function()
    assert told == ["it broke; trying again for 60 s"]
    reader.over()
    assert told[1:] == ["connected again"]
    assert not reader.lasts
