"""`readalong status`."""

from __future__ import annotations

import typer

from readalong.cli.commands.options import AsJson, Url
from readalong.cli.completion import DEFAULT_URL
from readalong.cli.sanitize import harmless_json


def status(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show what is the matter and what to do, and Redis, queue, jobs and workers on one screen.

    Exit codes: 0 all is well, 10 a warning, 11 something critical, 1 no answer.
    """
    from readalong.cli import exit_codes  # noqa: PLC0415
    from readalong.cli.api_client import ApiClient  # noqa: PLC0415
    from readalong.cli.render.status_screen import findings_of, status_screen  # noqa: PLC0415
    from readalong.cli.render.terminal import Terminal  # noqa: PLC0415

    with ApiClient.asking(url) as client:
        found = client.get("/v1/status")
    if as_json:
        typer.echo(harmless_json(found, indent=True))
    else:
        terminal = Terminal.for_tables()
        terminal.lines(status_screen(found, terminal.width))
    raise typer.Exit(exit_codes.of_severities([str(finding.get("severity")) for finding in findings_of(found)]))
