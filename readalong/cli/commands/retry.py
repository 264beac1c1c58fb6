"""`readalong retry`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from readalong.cli.commands.options import AsJson, EndedJobs, GiveUp, Url
from readalong.cli.completion import DEFAULT_URL
from readalong.cli.sanitize import harmless_json, one_line


def retry(
    jobs: EndedJobs,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Watch the new jobs.")] = False,
    url: Url = DEFAULT_URL,
    give_up: GiveUp = 60,
    as_json: AsJson = False,
) -> None:
    """Run ended jobs again, as new jobs, and print their ids. The API must have kept the requests."""
    from readalong.cli.api_client import ApiClient  # noqa: PLC0415

    answers: list[dict[str, Any]] = []
    try:
        with ApiClient.asking(url) as client:
            for job_id in client.find_jobs(jobs):
                answers.append(client.post(client.job_path(job_id) + "/retry"))
    finally:
        # Also when a later one is refused: the new jobs run. With --watch stdout belongs to the answers.
        for answer in answers:
            typer.echo(harmless_json(answer) if as_json else one_line(str(answer.get("id"))), err=watch)
    if watch:
        from readalong.cli.watching import watch_jobs  # noqa: PLC0415
        from readalong.core.position import Position  # noqa: PLC0415

        ids = [str(answer.get("id")) for answer in answers]
        raise typer.Exit(watch_jobs(url, ids, Position(0), give_up, as_json=as_json))
