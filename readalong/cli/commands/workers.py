"""`readalong workers`."""

from __future__ import annotations

from typing import Annotated

import typer

from readalong.cli.commands.options import Url
from readalong.cli.completion import DEFAULT_URL
from readalong.cli.sanitize import harmless_json


def workers(
    url: Url = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, one worker a line.")] = False,
) -> None:
    """List the workers, and what each runs, the oldest job first."""
    from readalong.cli.api_client import ApiClient  # noqa: PLC0415
    from readalong.cli.json_fields import mappings  # noqa: PLC0415
    from readalong.cli.render.terminal import Terminal  # noqa: PLC0415
    from readalong.cli.render.workers_table import running_table, workers_table  # noqa: PLC0415

    with ApiClient.asking(url) as client:
        status = client.get("/v1/status")
    found = mappings(status.get("workers"))
    if as_json:
        for worker in found:
            typer.echo(harmless_json(worker))
        return
    if not found:
        typer.echo("no workers (readalong worker starts one)", err=True)
        return
    terminal, now = Terminal.for_tables(), status.get("now")
    terminal.lines(workers_table(found, terminal.width, now))
    running = running_table(found, terminal.width, now)
    if len(running) > 1:
        terminal.print()
        terminal.lines(running)
