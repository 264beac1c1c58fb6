"""`readalong watch`."""

from __future__ import annotations

from typing import Annotated

import typer

from readalong.cli.commands.options import GiveUp, Jobs, Url
from readalong.cli.completion import DEFAULT_URL


def watch(
    jobs: Jobs,
    after: Annotated[str, typer.Option(help="Show only events after this id or number.")] = "0",
    url: Url = DEFAULT_URL,
    give_up: GiveUp = 60,
    as_json: Annotated[bool, typer.Option("--json", help="The events as JSON, one a line.")] = False,
) -> None:
    """Watch jobs: their text on stdout, everything else on stderr. Reconnects when the connection breaks.

    The lines of several jobs begin with their ids. Ctrl-C ends the watching, never a job.

    Exit codes: 0 done, 1 failed, 2 misuse, 3 cancelled, 4 not found, 130 Ctrl-C; of several jobs the worst.
    """
    from readalong.cli.watching import watch_jobs  # noqa: PLC0415
    from readalong.core.position import Position  # noqa: PLC0415

    try:
        position = Position.parse(after)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--after") from None
    if position.seq and len(jobs) > 1:
        raise typer.BadParameter("a position belongs to one job", param_hint="--after")
    raise typer.Exit(watch_jobs(url, jobs, position, give_up, as_json=as_json))
