"""`readalong erase`."""

from __future__ import annotations

from typing import Annotated

import typer

from readalong.cli.commands.options import AsJson, Url
from readalong.cli.completion import DEFAULT_URL, complete_job


def erase(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(help="Ids, or their beginnings.", show_default=False, autocompletion=complete_job),
    ] = None,
    *,
    ended: Annotated[bool, typer.Option("--ended", help="All jobs that have ended.")] = False,
    older_than: Annotated[
        str, typer.Option(help="With --ended: only jobs that ended so long ago, as 90s, 15m, 1h, 2d.")
    ] = "0s",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Erase jobs with all that Redis holds of them. A job that runs is cancelled first."""
    from readalong.cli.durations import parse_duration  # noqa: PLC0415
    from readalong.cli.erasing import erase_ended, erase_jobs  # noqa: PLC0415

    if bool(jobs) == ended:
        raise typer.BadParameter("give either jobs or --ended")
    try:
        seconds = parse_duration(older_than)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from None
    if seconds and not ended:
        raise typer.BadParameter("only with --ended", param_hint="--older-than")
    if ended:
        raise typer.Exit(erase_ended(url, seconds, yes=yes, as_json=as_json))
    raise typer.Exit(erase_jobs(url, jobs or [], yes=yes, as_json=as_json))
