"""`readalong top`."""

from __future__ import annotations

from readalong.cli.commands.options import AsJson, GiveUp, Url
from readalong.cli.completion import DEFAULT_URL


def top(url: Url = DEFAULT_URL, give_up: GiveUp = 60, as_json: AsJson = False) -> None:
    """Show queue, workers, rates and the slowest jobs, live. q or Ctrl-C ends it.

    Without a terminal, or with --json: once.
    """
    from readalong.cli.live_top import show_once, show_top  # noqa: PLC0415
    from readalong.cli.render.terminal import Terminal  # noqa: PLC0415

    terminal = Terminal(highlight=False)
    if as_json or not terminal.is_terminal or terminal.is_dumb_terminal:
        show_once(url, as_json=as_json)
    else:
        show_top(url, give_up, terminal)
