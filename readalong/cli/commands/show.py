"""`readalong show`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from readalong.cli.commands.options import AsJson, Job, Url
from readalong.cli.completion import DEFAULT_URL
from readalong.cli.sanitize import harmless_json

if TYPE_CHECKING:
    from readalong.cli.api_client import ApiClient


def show(
    job: Job,
    content: Annotated[bool, typer.Option("--content", help="Print only the answer so far.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show a job: its state, its timeline, and the redis-cli lines that show the same. Its texts are not shown."""
    from readalong.cli.api_client import ApiClient  # noqa: PLC0415
    from readalong.cli.render.job_screen import job_screen  # noqa: PLC0415
    from readalong.cli.render.terminal import Terminal  # noqa: PLC0415
    from readalong.core.sanitize import harmless  # noqa: PLC0415

    with ApiClient.asking(url) as client:
        found = client.get(client.job_path(client.find_job(job)), include="timeline")
        prefix, cli = ("", "") if content or as_json else _redis(client)
    if content:
        answer = str(found.get("content") or "")
        typer.echo(harmless(answer) if sys.stdout.isatty() else answer)
    elif as_json:
        typer.echo(harmless_json(found, indent=True))
    else:
        terminal = Terminal.for_tables()
        terminal.lines(job_screen(found, terminal.width, prefix, cli))


def _redis(client: ApiClient) -> tuple[str, str]:
    """Returns what the names of the API's keys begin with, and what a command of redis-cli does. An API may keep them
    from this caller."""
    from readalong.cli.errors import CliError  # noqa: PLC0415
    from readalong.cli.json_fields import mapping, text  # noqa: PLC0415

    try:
        told = mapping(client.get("/v1/status").get("redis"))
    except CliError:
        told = {}
    prefix = text(told.get("prefix"), 100) or os.environ.get("READALONG_PREFIX") or "readalong"
    return prefix, text(told.get("cli"), 500) or "redis-cli"
