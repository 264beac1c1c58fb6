"""Signals that all programs treat alike."""

from __future__ import annotations

import signal
from typing import Final

#: Asks an API for a line about what is open. No other program may die of it, and none before it can answer.
REPORT: Final = signal.SIGUSR1


def ignore_reports() -> None:
    """Ignores a request for a report, from here on; processes that this one starts are born so."""
    signal.signal(REPORT, signal.SIG_IGN)


def ending_signals() -> tuple[signal.Signals, ...]:
    """Returns the signals that ask for the end in order: SIGTERM, SIGINT, and SIGHUP of a terminal that is closed.

    Without SIGHUP where this process was started to outlive its terminal, as `nohup` does.
    """
    asked = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    return asked if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else asked[:2]
