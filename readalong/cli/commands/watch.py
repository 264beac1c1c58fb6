"""`readalong watch`."""

from __future__ import annotations

from typing import Annotated

import typer

from readalong.cli.commands.options import DEFAULT_URL, GiveUp, Job, Url


def watch(
    job: Job,
    after: Annotated[str, typer.Option(help="Show only events after this id or number.")] = "0",
    url: Url = DEFAULT_URL,
    give_up: GiveUp = 60,
) -> None:
    """Watch a job: its text on stdout, everything else on stderr. Reconnects when the connection breaks.

    Exit codes: 0 done, 1 failed or not found, 2 cancelled, 130 Ctrl-C (which ends the watching, never the job).
    """
    from readalong.cli.watcher import watch_job  # noqa: PLC0415
    from readalong.core.position import Position  # noqa: PLC0415

    try:
        position = Position.parse(after)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--after") from None
    raise typer.Exit(watch_job(url, job, position, give_up))
