"""Signals that end a program end it as Ctrl-C does: in order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from readalong.cli.exit_codes import INTERRUPTED

_SIGNALS: Final = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP raise KeyboardInterrupt in the block. One that was ignored, as by nohup, stays so."""
    before: dict[signal.Signals, Any] = {}
    try:
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, _interrupt)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def code_of(interrupt: KeyboardInterrupt) -> int:
    """Returns the exit code that a shell gives to a program that the signal has ended."""
    return 128 + interrupt.args[0] if interrupt.args else INTERRUPTED


def _interrupt(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt(number)
