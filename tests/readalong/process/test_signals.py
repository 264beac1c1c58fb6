"""The signals that end a process."""

from __future__ import annotations

import signal

from readalong.process.signals import ending_signals


def test_a_process_that_is_to_outlive_its_terminal_does() -> None:
    """`nohup` starts it with SIGHUP ignored. Otherwise SIGHUP ends it as SIGTERM does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert ending_signals() == (signal.SIGTERM, signal.SIGINT)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert ending_signals() == (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
