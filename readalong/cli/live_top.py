"""`readalong top`: a screen that follows `/v1/changes`."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import typer
from rich.console import Group
from rich.live import Live

from readalong.cli.api_client import ApiClient
from readalong.cli.changes import Change, Changes
from readalong.cli.errors import CliError
from readalong.cli.job_streams import Streams
from readalong.cli.render.metrics import moment
from readalong.cli.render.patience import patience
from readalong.cli.render.terminal import Terminal
from readalong.cli.render.top_screen import top_screen
from readalong.cli.sanitize import harmless_json

#: Seconds between two looks at a key, and between two requests for the numbers of the minutes.
_TURN: Final = 0.25
_STATS_SECONDS: Final = 5.0
#: q, and Escape, and what Ctrl-D sends.
_QUIT: Final = b"qQ\x1b\x04"


def show_once(url: str, *, as_json: bool) -> None:
    """Prints the screen once. Raises CliError."""
    with ApiClient.asking(url) as client:
        status, stats = client.get("/v1/status"), client.get("/v1/stats", minutes=60)
    if as_json:
        typer.echo(harmless_json({"status": status, "stats": stats}, indent=True))
        return
    terminal = Terminal.for_tables()
    terminal.lines(top_screen(status, stats, terminal.width, 1000)[1:])


def show_top(url: str, give_up: float, terminal: Terminal) -> None:
    """Shows the screen until a key or Ctrl-C ends it. Raises CliError."""
    with ApiClient(url) as client:
        streams: Streams[Change] = Streams()
        top = _Top(client, terminal)
        with patience(f"asking {client.url}"):
            top.refresh()
        changes = Changes(client, give_up=give_up, notify=lambda line: streams.note("changes", line))
        streams.start("changes", changes.read())
        live = Live(screen=True, auto_refresh=False, console=terminal, vertical_overflow="crop")
        try:
            with _single_keys(), live:
                while not _quit_pressed():
                    top.take(streams)
                    live.update(top.screen(), refresh=True)
        except KeyboardInterrupt:
            return  # the usual way to end it


class _Top:
    """What the screen shows."""

    def __init__(self, client: ApiClient, terminal: Terminal) -> None:
        self._client = client
        self._terminal = terminal
        self._status: dict[str, Any] = {}
        self._stats: dict[str, Any] = {}
        self._status_at = self._stats_at = 0.0
        self._notice = ""

    def refresh(self) -> None:
        """Asks for everything. Raises CliError."""
        self._stats_at = time.monotonic()
        self._set(self._client.get("/v1/status"))
        self._stats = self._client.get("/v1/stats", minutes=60)

    def take(self, streams: Streams[Change]) -> None:
        """Takes in what has changed, for a turn at most. Raises the CliError that ends the stream."""
        until = time.monotonic() + _TURN
        while (item := streams.next(max(0.0, until - time.monotonic()))) is not None:
            if item.error is not None:
                raise item.error
            if item.note is not None:
                self._notice = "" if item.note == "connected again" else item.note
            elif item.event is not None and item.event.kind == "status":
                self._set(item.event.data)
            if time.monotonic() > until:
                break
        if time.monotonic() - self._stats_at > _STATS_SECONDS:
            try:
                self.refresh()
            except CliError as error:  # the stream of changes decides when to give up
                self._notice = error.message

    def screen(self) -> Group:
        width, height = self._terminal.size
        # The ages go on between two messages.
        now = moment(self._status.get("now"))
        passed = timedelta(seconds=time.monotonic() - self._status_at)
        status = self._status if now is None else {**self._status, "now": (now + passed).isoformat()}
        return Group(*top_screen(status, self._stats, width, height, self._notice))

    def _set(self, status: dict[str, Any]) -> None:
        self._status, self._status_at = status, time.monotonic()


@contextmanager
def _single_keys() -> Iterator[None]:
    """Makes the terminal give each key at once, and not show it."""
    if not sys.stdin.isatty():
        yield
        return
    import termios  # noqa: PLC0415
    import tty  # noqa: PLC0415

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quit_pressed() -> bool:
    """Returns whether a key that ends the screen was pressed. Without a terminal at stdin there are no keys."""
    if not sys.stdin.isatty() or not select.select([sys.stdin], [], [], 0)[0]:
        return False
    keys = os.read(sys.stdin.fileno(), 64)
    return not keys or keys[:1] in [bytes([key]) for key in _QUIT]
