"""`readalong jobs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import parse_qs, urlsplit

import typer

from readalong.cli.commands.options import DEFAULT_URL, Url
from readalong.cli.sanitize import harmless_json

if TYPE_CHECKING:
    from readalong.cli.client import Client

#: Jobs of one request.
_PAGE: Final = 100


def jobs(
    status: Annotated[str | None, typer.Option(help="Only these: queued, running, done, failed, cancelled.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The number of jobs, at most.")] = 20,
    url: Url = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, one job a line.")] = False,
) -> None:
    """List jobs, the newest first."""
    from readalong.cli.client import Client  # noqa: PLC0415

    with Client(url) as client:
        found = _fetch(client, status, limit)
    if as_json:
        for job in found:
            typer.echo(harmless_json(job))
    elif found:
        from readalong.cli.render.jobs_table import jobs_table  # noqa: PLC0415
        from readalong.cli.render.terminal import Terminal  # noqa: PLC0415

        Terminal.for_tables().print(jobs_table(found))
    else:
        typer.echo("no jobs", err=True)


def _fetch(client: Client, status: str | None, limit: int) -> list[dict[str, Any]]:
    """Returns the newest `limit` jobs, fetched page by page. Raises CliError."""
    jobs: list[dict[str, Any]] = []
    before: str | None = None
    while len(jobs) < limit:
        parameters: dict[str, str | int] = {"limit": min(_PAGE, limit - len(jobs))}
        if status is not None:
            parameters["status"] = status
        if before is not None:
            parameters["before"] = before
        answer = client.get("/v1/jobs", **parameters)
        page = answer.get("jobs")
        jobs += [job for job in page if isinstance(job, dict)] if isinstance(page, list) else []
        following = parse_qs(urlsplit(str(answer.get("next") or "")).query).get("before")
        if not following or following[0] == before:
            break
        before = following[0]
    return jobs[:limit]
