"""Completion of job ids in a shell."""

from __future__ import annotations

import os
from typing import Any, Final

import typer

DEFAULT_URL: Final = "http://127.0.0.1:8000"
#: Jobs that the shell shows.
_MOST: Final = 50
_LIVE: Final = ("queued", "running")


def complete_job(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Returns the newest jobs whose ids begin so, with their status, age and model."""
    return _complete(ctx, incomplete)


def complete_running(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Returns those that have not ended."""
    return [found for found in _complete(ctx, incomplete) if found[1].startswith(_LIVE)]


def complete_ended(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Returns those that have ended."""
    return [found for found in _complete(ctx, incomplete) if not found[1].startswith(_LIVE)]


def complete_model(ctx: typer.Context, incomplete: str) -> list[str]:
    """Returns the models of the newest jobs."""
    return sorted({str(job.get("model")) for job in _jobs(ctx, "") if str(job.get("model")).startswith(incomplete)})


def _complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    from readalong.cli.json_fields import text  # noqa: PLC0415
    from readalong.cli.render.metrics import age  # noqa: PLC0415

    typed = {word for value in ctx.params.values() if isinstance(value, list | tuple) for word in value}
    return [
        (job_id, f"{text(job.get('status'))} {age(job.get('created_at'))} {text(job.get('model'), 40)}")
        for job in _jobs(ctx, incomplete)
        if (job_id := text(job.get("id"))).startswith(incomplete) and job_id not in typed
    ]


def _jobs(ctx: typer.Context, beginning: str) -> list[dict[str, Any]]:
    from readalong.cli.api_client import SHORTEST, ApiClient  # noqa: PLC0415
    from readalong.cli.errors import CliError  # noqa: PLC0415
    from readalong.cli.json_fields import mappings  # noqa: PLC0415

    # The callback of an option does not run here, nor does its variable count.
    url = ctx.params.get("url") or os.environ.get("READALONG_URL") or DEFAULT_URL
    found: dict[str, str | int] = {"id": beginning} if len(beginning) >= SHORTEST else {}
    try:
        with ApiClient(str(url)) as client:
            return mappings(client.get("/v1/jobs", limit=_MOST, **found).get("jobs"))
    except CliError:
        return []  # a message would be written into the line that is being typed
