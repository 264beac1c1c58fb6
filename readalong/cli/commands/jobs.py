"""`readalong jobs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from readalong.cli.commands.options import GiveUp, Url
from readalong.cli.completion import DEFAULT_URL
from readalong.cli.sanitize import harmless_json

if TYPE_CHECKING:
    from readalong.cli.render.terminal import Terminal


def jobs(
    *,
    status: Annotated[str | None, typer.Option(help="Only these: queued, running, done, failed, cancelled.")] = None,
    model: Annotated[str | None, typer.Option(help="Only jobs for this model.")] = None,
    thread: Annotated[str | None, typer.Option(help="Only jobs of this thread.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="Only jobs with this KEY=VALUE; repeatable.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The number of jobs, at most.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on: a line for each change of a job.")] = False,
    url: Url = DEFAULT_URL,
    give_up: GiveUp = 60,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, one job a line.")] = False,
) -> None:
    """List jobs, the newest first. With --follow the newest last, and then each change."""
    from readalong.cli.api_client import ApiClient  # noqa: PLC0415
    from readalong.cli.render.terminal import Terminal  # noqa: PLC0415

    filters = _filters(status, model, thread, metadata or [])
    terminal = Terminal.for_tables()
    if follow:
        from readalong.cli.following import follow_jobs  # noqa: PLC0415

        raise typer.Exit(follow_jobs(url, filters, limit, give_up, terminal, as_json=as_json))
    with ApiClient.asking(url) as client:
        found = [job for page in client.pages(limit, **filters) for job in page]
    _show(found, terminal, as_json)


def _show(found: list[dict[str, Any]], terminal: Terminal, as_json: bool) -> None:
    from readalong.cli.render.jobs_table import jobs_table  # noqa: PLC0415

    if as_json:
        for job in found:
            typer.echo(harmless_json(job))
    elif found:
        terminal.lines(jobs_table(found, terminal.width))
    else:
        typer.echo("no jobs", err=True)


def _filters(status: str | None, model: str | None, thread: str | None, metadata: list[str]) -> dict[str, str]:
    filters = {"status": status, "model": model, "thread": thread}
    for pair in metadata:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--metadata")
        filters[f"metadata.{key}"] = value
    return {name: value for name, value in filters.items() if value is not None}
