"""`readalong cancel`."""

from __future__ import annotations

from typing import Any

import typer

from readalong.cli.commands.options import AsJson, LiveJobs, Url
from readalong.cli.completion import DEFAULT_URL
from readalong.cli.sanitize import harmless_json, one_line


def cancel(jobs: LiveJobs, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Cancel jobs and print the status of each. A job that has ended stays as it is."""
    from readalong.cli.api_client import ApiClient  # noqa: PLC0415

    answers: list[dict[str, Any]] = []
    try:
        with ApiClient.asking(url) as client:
            for job_id in client.find_jobs(jobs):
                answers.append(client.post(client.job_path(job_id) + "/cancel"))
    finally:
        # Also when a later one fails: what was cancelled is told.
        for answer in answers:
            status = one_line(str(answer.get("status")))
            if as_json:
                typer.echo(harmless_json(answer))
            else:
                typer.echo(status if len(jobs) == 1 else f"{one_line(str(answer.get('id')))}  {status}")
    if any(answer.get("status") == "running" for answer in answers):
        typer.echo("the cancel is kept; the worker ends the job", err=True)
