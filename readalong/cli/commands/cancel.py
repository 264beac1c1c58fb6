"""`readalong cancel`."""

from __future__ import annotations

import typer

from readalong.cli.commands.options import DEFAULT_URL, Job, Url
from readalong.cli.sanitize import one_line


def cancel(job: Job, url: Url = DEFAULT_URL) -> None:
    """Cancel a job and print its status. A job that has ended stays as it is."""
    from readalong.cli.client import Client  # noqa: PLC0415

    with Client(url) as client:
        status = client.post(client.job_path(job) + "/cancel").get("status")
    typer.echo(one_line(str(status)))
    if status == "running":
        typer.echo("the cancel is kept; the worker ends the job", err=True)
